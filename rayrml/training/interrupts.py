"""Signals that end a run: the first lets it finish its step and save its state, the second ends it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from rayrml.cluster import signal_handlers
from rayrml.errors import Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 10.0  # seconds for a step and a checkpoint; job schedulers kill stopped jobs soon after


class Interrupts:
    """Handles SIGINT and SIGTERM while entered; only in the main thread, as other threads receive no signals.

    Args:
        tell: called at once with each signal that is heeded; the run may take a moment to end.
        leave: ends the process, which a signal does until `clean_up` is called; None: the signal raises.

    Attributes:
        requested: whether an orderly end was requested.
    """

    def __init__(
        self, tell: Callable[[], None] = lambda: None, leave: Callable[[BaseException], None] | None = None
    ) -> None:
        self.requested = False
        self._first: int | None = None  # signal
        self._tell = tell
        self._leave = leave
        self._ending = False
        self._orderly: Callable[[], bool] = lambda: False
        self._timer: threading.Timer | None = None
        self._before: dict[int, Any] = {}
        self._alarm = signal_handlers.read_handler(signal.SIGALRM)

    def __enter__(self) -> Interrupts:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def during_run(self) -> Iterator[None]:
        """Install the handlers again, because Ray has replaced them; ignore signals after the block.

        Ray is shut down then, which must not be interrupted.
        """
        self._listen()
        try:
            yield
        finally:
            self._ending = True
            if self._timer is not None:
                self._timer.cancel()

    def clean_up(self) -> None:
        """Let signals from now on end the run instead of the process: it has something to close."""
        self._leave = None

    def end_in_order(self, possible: Callable[[], bool]) -> None:
        """Let the first signal request an orderly end whenever that is `possible`, instead of raising at once."""
        self._orderly = possible

    def error(self) -> KeyboardInterrupt:
        """The error with which the first signal ends the run."""
        return Terminated() if self._first == signal.SIGTERM else KeyboardInterrupt()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before.setdefault(number, signal.signal(number, self._handle))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._prevent_abort()
        if self._ending:
            return
        if self._first is None:
            self._first = number
        if self._leave is not None:
            self._ending = True
            self._leave(self.error())
            return
        self._tell()
        if self.requested or not self._orderly():
            self._ending = True
            raise self.error()
        self.requested = True
        # An evaluation or a step may take longer than that.
        self._timer = threading.Timer(_PATIENCE, signal.raise_signal, [signal.SIGINT])
        self._timer.daemon = True
        self._timer.start()

    def _prevent_abort(self) -> None:
        """Cancel the alarm by which Ray's core aborts the process some seconds after a signal.

        While Ray starts in another thread, its core's handler comes first: it sets the alarm and calls this one.
        """
        if signal_handlers.read_handler(signal.SIGALRM) != self._alarm:
            signal.alarm(0)
            signal_handlers.install_handler(signal.SIGALRM, self._alarm)
