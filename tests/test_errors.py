import errno
import os
import zlib

import pytest

from rayrml.errors import ConfigError, DataError, Problem, describe, explaining


def raised_by(error, *kinds):
    with pytest.raises(Exception) as caught, explaining("out.txt", "cannot be written", *kinds):
        raise error
    return caught.value


def test_what_the_system_says_is_the_reason():
    error = raised_by(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.txt"))
    assert isinstance(error, DataError)
    assert str(error) == "out.txt: cannot be written. No space left on device"


def test_a_path_object_names_the_file_too(tmp_path):
    with pytest.raises(DataError) as caught, explaining(tmp_path / "a" / "b", "cannot be read"):
        (tmp_path / "a" / "b").read_bytes()
    assert str(caught.value) == f"{tmp_path}/a/b: cannot be read. No such file or directory"


def test_the_traceback_does_not_show_what_it_was_before():
    assert raised_by(OSError("full")).__suppress_context__


def test_only_the_kinds_that_are_named_are_the_users():
    assert isinstance(raised_by(ValueError("a bug")), ValueError)
    assert str(raised_by(ValueError("no URI"), (OSError, ValueError))) == "out.txt: cannot be written. no URI"
    assert str(raised_by(zlib.error("bad"), Exception)) == "out.txt: cannot be written. bad"


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_an_error_that_is_the_users_already_stays_as_it_is(kind):
    error = kind(Problem("other.txt", "is damaged"))
    assert raised_by(error, Exception) is error


def test_what_the_block_gives_goes_on():
    def content():
        with explaining("x", "cannot be read"):
            return 3

    assert content() == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EACCES, "Permission denied", "x"), "Permission denied"),
        (OSError("truncated file\nTraceback: ..."), "truncated file"),
        (RuntimeError("\n\n  the reason \nadvice for programmers"), "the reason"),
        (KeyError("name"), "'name'"),
        (EOFError(), "EOFError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_an_error_is_described_on_one_line(error, expected):
    assert describe(error) == expected
