"""The terminal line that shows progress; permanent lines appear above it, and it is removed at the end."""

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
    """The progress line, shown from the first batch on.

    Args:
        console: the terminal.
        num_epochs: epochs of the run.
    """

    def __init__(self, console: Console, num_epochs: int):
        self._console = console
        self._num_epochs = num_epochs
        self._bar: Progress | None = None
        self._began = time.monotonic()
        self._done = 0
        self._metric = ""

    def begin(self) -> None:
        """Start or restart the estimate of the remaining time, which only counts steps from now on."""
        self._began, self._done = time.monotonic(), 0

    def evaluated(self, metric: str) -> None:
        """Set the text about the last evaluation."""
        self._metric = metric

    def show(self, message: BatchesTrained, num_batches: int) -> None:
        """Show the last of these steps, in an epoch of `num_batches`."""
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
        """Remove the line."""
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
    """As many of the facts as fit, in order, each after two spaces."""
    text = ""
    for fact in facts:
        if fact and len(text) + len(fact) + 2 <= width:
            text += f"  {fact}"
    return text


def _left(seconds: float) -> str:
    return f"{format_duration(seconds)} left"


def _rate(message: BatchesTrained) -> str:
    """Samples per second during these steps."""
    seconds = sum(row.data + row.compute + row.reduce for row in message.rows)
    return f"{sum(row.num_samples for row in message.rows) / seconds:.0f} samples/s" if seconds else ""


def _waiting(message: BatchesTrained) -> float:
    """The share of the time spent waiting for samples."""
    total = sum(row.data + row.compute + row.reduce for row in message.rows)
    return sum(row.data for row in message.rows) / total if total else 0.0
