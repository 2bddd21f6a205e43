"""The process's signal handlers as C has them: Python's `signal` sets them only in the main thread."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def keeping_handler(number: signal.Signals) -> Iterator[None]:
    """Give a signal its handler back after a block, in any thread, in which a library replaces it."""
    before = read_handler(number)
    try:
        yield
    finally:
        install_handler(number, before)


def read_handler(number: signal.Signals) -> int | None:
    """The address of a signal's handler."""
    read = ctypes.pythonapi.PyOS_getsig
    read.restype, read.argtypes = ctypes.c_void_p, [ctypes.c_int]
    return read(number)


def install_handler(number: signal.Signals, handler: int | None) -> None:
    """Give a signal the handler at this address."""
    install = ctypes.pythonapi.PyOS_setsig
    install.restype, install.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    install(number, handler)
