"""The process's standard output and error, so that a run does not end because nobody can read them any more."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


class LastingStream:
    """A text stream that loses text instead of raising, from the first time on that its file cannot be written.

    Everything else is the stream's own.

    Attributes:
        error: why it loses text, None if it does not.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, as long as that is possible."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Write what is in the buffer, as long as that is possible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        """Send this and all later text nowhere: the buffer holds what failed, and is written again."""
        self.error = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def make_lasting() -> None:
    """Make standard output and error streams that never raise: closed ones, full ones, or ones without some letters."""
    # A file that is opened next would get the number of a closed stream, and what is printed there.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115, PTH123 (until the process ends)
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, LastingStream(stream))


def describe_loss() -> str | None:
    """Why the end of what was printed is missing; None if nothing is, or if its reader wanted no more (`| head`)."""
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    if error is None or isinstance(error, BrokenPipeError):
        return None
    return f"standard output: {error.strerror}. The end of it is lost"
