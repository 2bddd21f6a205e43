"""A server as people start it: a command that says where it serves, and ends with Ctrl-C."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Foreground:
    """A command that serves.

    Attributes:
        process: its process.
        text: what it wrote until it served.
        page: the address that it tells, with the token.
    """

    process: subprocess.Popen[str]
    text: str
    page: str

    @property
    def url(self) -> str:
        return self.page.split("/#token=")[0]

    @property
    def token(self) -> str:
        return self.page.split("/#token=")[1]

    def predict(self, content: bytes) -> dict[str, Any]:
        """What it answers to a file."""
        headers = {"Authorization": f"Bearer {self.token}"}
        response = httpx.post(f"{self.url}/predict", content=content, headers=headers, timeout=_PATIENCE)
        assert response.status_code == 200, response.text
        return response.json()

    def end(self) -> str:
        """Press Ctrl-C; what the command wrote since it served."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(_PATIENCE) == 0
        assert self.process.stdout is not None
        return self.process.stdout.read()


@contextlib.contextmanager
def serving(arguments: Sequence[str], folder: Path) -> Iterator[Foreground]:
    """`rayrml serve` with arguments, typed in a folder, from when it serves; it ends with the block at the latest."""
    command = [sys.executable, "-m", "rayrml", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        found = re.findall(r"Serving at (\S+)", "".join(lines))
        assert found, "".join(lines)
        try:
            yield Foreground(process, "".join(lines), found[0])
        finally:
            if process.poll() is None:
                process.terminate()
