"""The first line of a command on a terminal, before anything slow is imported."""

from __future__ import annotations

import sys

from rayrml.errors import printable
from rayrml.formatting import format_path, stamped


def announce_reading(path: str, *, quiet: bool = False, stamp: bool = False) -> None:
    """Print what is read first, for the people who wait for it; other output stays as programs know it."""
    if quiet or not sys.stdout.isatty():
        return
    text = printable(f"Reading {format_path(path)}")
    sys.stdout.write(f"{stamped(text) if stamp else text}\n")
    sys.stdout.flush()
