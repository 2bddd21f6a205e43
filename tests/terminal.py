"""A command on a terminal of its own, and what its screen shows in the end."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Command:
    """A command that runs in a folder, on a terminal with this many columns."""

    def __init__(self, command: Sequence[str], folder: Path, *, columns: int = 80, **variables: str):
        # A Ray started by another test must not be taken for the user's cluster.
        environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"TERM": "xterm"} | variables
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, columns))
        how = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **how)
        os.close(slave)
        self.written = ""

    def read_until(self, text: str) -> None:
        """Read until the command has written a text, or nothing more."""
        while text not in self.written and self._read():
            pass

    def interrupt(self) -> float:
        """Press Ctrl-C, and return the seconds until the command answers."""
        began, before = time.monotonic(), self.written.count("nterrupted")
        os.killpg(self.process.pid, signal.SIGINT)
        while self.written.count("nterrupted") == before and self._read():
            pass
        return time.monotonic() - began

    def finish(self) -> int:
        """Read all that the command writes, and return its exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(timeout=60)

    def _read(self) -> bool:
        content = b""
        with contextlib.suppress(OSError):  # the end, on Linux
            content = os.read(self._master, 65536)
        self.written += content.decode()
        return bool(content)


def show(written: str) -> list[str]:
    """The lines of a terminal that is wide and high enough, after all of this was written."""
    lines, row, column = [""], 0, 0
    for code, kind, home, feed, text in _PART.findall(written):
        if home:
            column = 0
        elif feed:
            row += 1
            lines += [""] * (row == len(lines))
        elif kind == "A":
            row -= int(code or 1)
        elif kind == "K":
            lines[row] = "" if code == "2" else lines[row][:column]
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines]
