"""How far a command is: a bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar


class Progress:
    """A bar, in a block.

    Args:
        doing: what the command does, such as "Packing".
        quiet: whether to show nothing.
    """

    def __init__(self, doing: str, *, quiet: bool):
        console = Console(file=sys.stderr)
        self._doing = doing
        self._bar = Bar(console=console, transient=True, disable=quiet or not console.is_terminal)
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Show how many of all are done."""
        if self._task is None:
            self._task = self._bar.add_task(self._doing, total=total)
        self._bar.update(self._task, completed=done)
