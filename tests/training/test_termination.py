"""SIGTERM to a worker: the end of the process before training asks for it, then a notice."""

import signal

import pytest

from rayrml.training.termination import Termination


@pytest.fixture
def ended():
    """The signals that have reached the handler from before."""
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


def test_the_signal_is_a_notice_once_training_has_asked_for_it_and_a_second_one_ends_the_process(ended):
    termination = Termination()
    termination.listen()
    signal.raise_signal(signal.SIGTERM)
    assert len(ended) == 1, "nothing could be kept yet"
    assert not termination.is_received()
    signal.raise_signal(signal.SIGTERM)
    assert termination.is_received() and len(ended) == 1
    signal.raise_signal(signal.SIGTERM)
    assert len(ended) == 2
    again = Termination()
    again.listen()
    again.listen()
    assert not again.is_received()
    again.training_is_over()
    signal.raise_signal(signal.SIGTERM)
    assert len(ended) == 3 and not again.is_received()


def test_a_process_without_a_handler_ends_with_the_code_of_the_signal(ended):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Termination().listen()
    with pytest.raises(SystemExit) as end:
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
