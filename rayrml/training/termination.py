"""SIGTERM to a training worker's process; without torch, which the process that starts the workers does not import."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Termination:
    """SIGTERM to this process: it ends the process, as by default, until training asks for it for the first time.

    From then on until training is over, the first one is a notice, and a second one ends the process.
    """

    def __init__(self) -> None:
        self._received = False
        self._awaited = False
        self._before: Any = None

    def listen(self) -> None:
        """Handle the signal from now on; only in the main thread, as others receive none."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) != self._handle:
            self._before = signal.signal(signal.SIGTERM, self._handle)

    def is_received(self) -> bool:
        """Whether the signal has come since this was asked for the first time."""
        self._awaited = True
        return self._received

    def training_is_over(self) -> None:
        """Let the signal end the process again."""
        self._awaited = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._awaited and not self._received:
            self._received = True
        elif callable(self._before):
            self._before(number, frame)
        else:
            sys.exit(128 + number)


TERMINATION = Termination()  # of this process
