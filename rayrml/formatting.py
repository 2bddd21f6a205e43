"""Paths, sizes, durations and tables as they are shown to people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rayrml.errors import printable


def format_path(path: str | Path) -> str:
    """A path as one would type it: relative to the current directory if it is inside."""
    try:
        return f"./{Path(path).relative_to(Path.cwd())}"
    except ValueError:
        return str(path)


def format_bytes(count: int) -> str:
    """A number of bytes with its unit: `4.3 GB`."""
    if count < 1000:
        return f"{count} bytes"
    size = float(count)
    units = ["KB", "MB", "GB", "TB"]
    while (size := size / 1000) >= 999.5 and len(units) > 1:
        units.pop(0)
    return f"{size:.3g} {units[0]}"


def format_duration(seconds: float) -> str:
    """A duration as on a clock: `0:42`, `12:05`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_table(rows: Iterable[Iterable[Any]], headings: Iterable[str]) -> list[str]:
    """Lines of a table: the last column is right-aligned, all others are left-aligned."""
    cells = [[str(h) for h in headings], *([str(c) for c in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(c.rjust(w) if i == last else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]


def shorten(names: Sequence[str], most: int = 10) -> str:
    """The first few of a list of names, and dots for the others."""
    return f"{', '.join(names[:most])}{', ...' if len(names) > most else ''}"


def shorten_name(name: str, longest: int = 22) -> str:
    """A name with printable characters, as far as there is room for it in a picture: `longest` of them."""
    plain = printable(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 1].rstrip()}…"


def stamped(text: str) -> str:
    """A line that begins with the date and the time."""
    return f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}".rstrip()
