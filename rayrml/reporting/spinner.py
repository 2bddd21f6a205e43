"""The terminal line that says what a run waits for; it is removed as soon as there is something else to show."""

from __future__ import annotations

import os
import threading
from typing import TextIO

from rayrml.reporting.wrapping import shorten_middle

_FRAMES = "|/-\\"
_SECONDS = 0.15  # between frames
_ERASE = "\r\x1b[K"


class Spinner:
    """Draws a line in a thread of its own.

    The cursor stays visible, unlike with rich's: a signal may end the process at any time, in native code too.

    Args:
        stream: the terminal.
        width: columns of the terminal.
    """

    def __init__(self, stream: TextIO, width: int):
        self._stream = stream
        self._width = width
        self._text = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def show(self, text: str) -> None:
        """Show what is waited for, from now on."""
        with self._lock:
            self._text = shorten_middle(text, self._width - 3)
        if self._thread is None:
            self._over.clear()
            self._thread = threading.Thread(target=self._turn, daemon=True)
            self._thread.start()

    def hide(self) -> None:
        """Remove the line."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            with self._lock:
                self._text = ""
                self._write(_ERASE)

    def pause(self) -> None:
        """Remove the line until its next frame: another line is about to be printed."""
        if self._thread is not None:
            with self._lock:
                self._write(_ERASE)

    def _turn(self) -> None:
        over, number, process = self._over, 0, os.getpid()
        while not over.wait(_SECONDS) and os.getpid() == process:
            with self._lock:
                if self._text and not over.is_set():
                    self._write(f"{_ERASE}{_FRAMES[number % len(_FRAMES)]} {self._text}")
            number += 1

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
