"""How paths and tables are shown to people."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def displayed(path: str | Path) -> str:
    """A path as one would type it: relative to the current directory where it lies below it."""
    try:
        return f"./{Path(path).relative_to(Path.cwd())}"
    except ValueError:
        return str(path)


def table(rows: Iterable[Iterable[Any]], headings: Iterable[str]) -> list[str]:
    """Lines of a table whose first column is aligned to the left and whose last one to the right."""
    cells = [[str(h) for h in headings], *([str(c) for c in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(c.rjust(w) if i == last else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]


def stamped(text: str) -> str:
    """A line with the time of day before it."""
    return f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}".rstrip()
