"""Calls in a background thread."""

import subprocess
import sys
import threading

import pytest

from rayrml.training.trainer import call_in_background


def test_a_call_in_the_background_is_a_future_of_what_it_gives_or_raises():
    go_on = threading.Event()
    called = call_in_background(lambda: go_on.wait(10))
    assert not called.done()
    go_on.set()
    assert called.result(10) is True
    with pytest.raises(KeyboardInterrupt):
        call_in_background(_interrupt).result(10)


def _interrupt():
    raise KeyboardInterrupt


def test_a_process_ends_without_waiting_for_what_is_in_the_background():
    program = (
        "import time; from rayrml.training.trainer import call_in_background as call; call(lambda: time.sleep(600))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
