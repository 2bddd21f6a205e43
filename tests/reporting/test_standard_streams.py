"""Standard streams that are closed, full, or that nobody reads."""

import os
import sys
from pathlib import Path

import pytest

from rayrml.reporting.standard_streams import LastingStream, describe_loss


def test_a_stream_that_cannot_be_written_loses_text_and_knows_why(monkeypatch):
    with Path("/dev/full").open("w") as file:
        stream = LastingStream(file)
        monkeypatch.setattr(sys, "stdout", stream)
        assert stream.write("text\n") == 5
        stream.flush()
        assert isinstance(stream.error, OSError)
        assert describe_loss() == "standard output: No space left on device. The end of it is lost"
        stream.write("more\n")
        stream.flush()


def test_a_reader_that_wants_no_more_loses_nothing(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        stream = LastingStream(file)
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("text\n")
        assert describe_loss() is None
        assert isinstance(stream.error, BrokenPipeError)


def test_everything_else_is_the_streams_own(tmp_path, monkeypatch):
    with (tmp_path / "text").open("w") as file:
        stream = LastingStream(file)
        stream.write("text")
        assert (stream.name, stream.isatty()) == (file.name, False)
        monkeypatch.setattr(sys, "stdout", stream)
        assert describe_loss() is None
    assert (tmp_path / "text").read_text() == "text"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_streams_are_only_replaced_for_a_process_of_its_own(name):
    assert not isinstance(getattr(sys, name), LastingStream)
