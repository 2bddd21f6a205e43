"""The first line of a command on a terminal, before anything slow is imported."""

from __future__ import annotations

import shutil
import sys

from rayrml.errors import printable
from rayrml.formatting import format_path, shorten

_MOST_PATHS = 3


def announce_reading(*paths: str, quiet: bool = False) -> None:
    """Print what is read first, on a terminal."""
    announce(f"Reading {shorten([format_path(path) for path in paths], _MOST_PATHS)}", quiet=quiet)


def announce(text: str, *, quiet: bool = False) -> None:
    """Print what takes time, for the people who wait for it; other output stays as programs know it."""
    if quiet or not sys.stdout.isatty():
        return
    text = printable(text)
    room = max(shutil.get_terminal_size().columns - 4, 4)
    sys.stdout.write("\n    ".join(text[start : start + room] for start in range(0, len(text), room)) + "\n")
    sys.stdout.flush()
