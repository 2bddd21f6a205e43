"""The one line of a terminal that shows how training goes; lines that stay push it down, and it is gone at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from rayrml.formatting import format_bytes, format_duration
from rayrml.reporting.messages import BatchesTrained

_BAR = 10  # columns


class LiveLine:
    """The line, from the first batch on.

    Args:
        console: the terminal.
        num_epochs: of the run.
    """

    def __init__(self, console: Console, num_epochs: int):
        self._console = console
        self._num_epochs = num_epochs
        self._bar: Progress | None = None
        self._began = time.monotonic()
        self._done = 0
        self._metric = ""

    def begin(self) -> None:
        """Training begins, or begins anew: the time that is left is judged by what comes from now on."""
        self._began, self._done = time.monotonic(), 0

    def evaluated(self, metric: str) -> None:
        """Show this of the last evaluation."""
        self._metric = metric

    def show(self, message: BatchesTrained, num_batches: int) -> None:
        """Show the last of the steps, of an epoch of so many."""
        last = message.rows[-1]
        self._done += len(message.rows)
        left = (self._num_epochs - last.epoch) * num_batches + num_batches - last.batch
        facts = [
            f"loss {last.loss:.4f}",
            self._metric,
            _left((time.monotonic() - self._began) / self._done * left),
            _rate(message),
            f"waiting {_waiting(message):.0%}",
            f"lr {message.learning_rate:.2g}",
            f"|g| {last.gradient_norm:.3g}",
            format_bytes(message.gpu_bytes or message.memory),
        ]
        head = f"Epoch {last.epoch}/{self._num_epochs}"
        batch = f"{last.batch}/{num_batches}"
        room = self._console.width - len(head) - len(batch) - _BAR - 2
        shown = {"completed": last.batch, "total": num_batches, "description": head}
        shown["facts"] = f"{batch}{fitting(facts, room)}"
        if self._bar is None:
            self._bar = _bar(self._console, shown)
        self._bar.update(self._bar.task_ids[0], **shown)

    def end(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(console: Console, shown: dict[str, Any]) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(_BAR), TextColumn("{task.fields[facts]}"))
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task(**shown)
    bar.start()
    return bar


def fitting(facts: Sequence[str], width: int) -> str:
    """As many of the facts, the first ones first, as find room, each with two spaces before it."""
    text = ""
    for fact in facts:
        if fact and len(text) + len(fact) + 2 <= width:
            text += f"  {fact}"
    return text


def _left(seconds: float) -> str:
    return f"{format_duration(seconds)} left"


def _rate(message: BatchesTrained) -> str:
    """Samples a second while these steps were taken."""
    seconds = sum(row.data + row.compute + row.reduce for row in message.rows)
    return f"{sum(row.num_samples for row in message.rows) / seconds:.0f} samples/s" if seconds else ""


def _waiting(message: BatchesTrained) -> float:
    """The share of the time that was spent on waiting for samples."""
    total = sum(row.data + row.compute + row.reduce for row in message.rows)
    return sum(row.data for row in message.rows) / total if total else 0.0
