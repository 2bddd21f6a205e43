"""The screen: lines, sections and tables for people, with or without timestamps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console as Terminal

from rayrml.errors import printable
from rayrml.formatting import stamped

_WIDTH = 78


class Console:
    """Prints lines on the process's standard output.

    Args:
        quiet: print nothing.
        stamped: begin each line with the date and time, as in a log.
        every_batch: show each batch, in the form for programs, also on a terminal.

    Attributes:
        terminal: what draws on the screen.
        is_live: whether this is a terminal for people, whose last line can be redrawn. Other output is for programs,
            too: its lines have the predecessor's form.
        every_batch: see above.
    """

    def __init__(self, *, quiet: bool = False, stamped: bool = True, every_batch: bool = False):
        self._quiet = quiet
        self.every_batch = every_batch
        self._stamped = stamped
        # A notebook gets plain lines, too: rich would make each of them a paragraph.
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
        self.terminal = Terminal(file=sys.stdout, soft_wrap=True, **plain)
        self.is_live = self.terminal.is_terminal and not quiet and not every_batch

    def line(self, text: str = "") -> None:
        """Print one line."""
        if not self._quiet:
            self.terminal.print(printable(stamped(text) if self._stamped else text))

    def lines(self, texts: Iterable[str]) -> None:
        """Print a line for each of the texts."""
        for text in texts:
            self.line(text)

    def section(self, title: str, rows: Mapping[str, Any]) -> None:
        """Print a heading and a line for each row that has a value."""
        self.line()
        self.line(f" {title} ".center(_WIDTH, "_"))
        self.lines(f"* {name:<28}: {value}" for name, value in rows.items() if value is not None)
