import ctypes
import signal

import pytest

from rayrml.cluster import signal_handlers
from rayrml.errors import Terminated
from rayrml.training.interrupts import Interrupts


def test_a_c_library_does_not_abort_a_process_that_ends_in_order():
    before = signal_handlers.read_handler(signal.SIGALRM)
    abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    with Interrupts():
        signal_handlers.install_handler(signal.SIGALRM, abort)  # as Ray's core does when it gets a signal
        signal.alarm(60)
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert signal.alarm(0) == 0
    assert signal_handlers.read_handler(signal.SIGALRM) == before


def test_an_alarm_of_the_program_itself_stays():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        signal.alarm(60)
        signal.raise_signal(signal.SIGINT)
    assert signal.alarm(0) > 0
