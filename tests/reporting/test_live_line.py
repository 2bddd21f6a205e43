import io
import re

import pytest
from rich.console import Console

from rayrml.reporting.live_line import LiveLine, fitting
from rayrml.reporting.messages import BatchesTrained, BatchRow

ROW = BatchRow(3, 10, 1.0, 0.25, 1.5, 0.25, 0.5, 0.25, 64)


def shown(width, rows=(ROW,), **fields):
    """The text of the line, without the terminal's control sequences."""
    out = io.StringIO()
    line = LiveLine(Console(file=out, force_terminal=True, width=width), num_epochs=20)
    line.begin()
    line.evaluated("accuracy 0.93")
    line.show(BatchesTrained(list(rows), **{"memory": 1_230_000_000, "learning_rate": 1e-4, **fields}), 47)
    line.end()
    texts = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()))
    return next(text.rstrip() for text in texts if text.strip())


def test_the_line_says_how_training_goes():
    text = shown(160)
    assert text.startswith("Epoch 3/20 ")
    facts = ("10/47", "loss 0.2500", "accuracy 0.93", "64 samples/s", "waiting 25%", "lr 0.0001", "1.23 GB")
    assert all(f" {fact}" in text for fact in facts)
    assert "|g| 1.5" in text


def test_rates_are_those_of_all_steps_since_the_last_time():
    other = ROW._replace(batch=9, data=0.0, compute=3.0, reduce=0.0, num_samples=128)
    text = shown(160, rows=(other, ROW))
    assert "48 samples/s" in text
    assert "waiting 6%" in text


def test_a_gpu_s_memory_is_shown_where_there_is_one():
    assert "4 GB" in shown(160, gpu_bytes=4_000_000_000)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_the_line_fits_into_the_terminal(width):
    assert len(shown(width)) <= width
    assert "loss 0.2500" in shown(width)


def test_facts_that_find_no_room_are_left_out():
    assert fitting(["loss 1", "", "a very long fact", "lr 2"], 15) == "  loss 1  lr 2"
