"""The table of epochs that grows on a terminal while a run trains: a line for each epoch."""

from __future__ import annotations

from collections.abc import Iterator

from rayrml.config.figures import COLUMNS, TEST_LOSS, TRAIN_LOSS, is_term, title
from rayrml.reporting.history import Figures

_BEST = "best"  # the mark of an epoch that is better than all before; the last one with it is the best of all
_HEADINGS = {TRAIN_LOSS: "Train loss", TEST_LOSS: "Test loss", "learning_rate": "LR", "seconds": "Seconds"}
_NARROWEST = 9  # columns


class EpochTable:
    """Makes the lines of epochs, and headings before the first one.

    Args:
        num_epochs: epochs of the run.
    """

    def __init__(self, num_epochs: int):
        self._num_epochs = num_epochs
        self._columns: list[str] = []

    def lines(self, figures: Figures, *, best: bool) -> Iterator[str]:
        """The line of an epoch, after the headings if these have not been there or there is a new figure."""
        tested = [name for name in figures if name not in COLUMNS and not is_term(name)]
        names = [TRAIN_LOSS, *([TEST_LOSS] if TEST_LOSS in figures else []), *tested, "learning_rate", "seconds"]
        if not set(names) <= set(self._columns):
            self._columns = names
            yield ""
            yield self._row("Epoch", [_name(name) for name in names])
        values = [_value(name, figures.get(name)) for name in self._columns]
        yield self._row(f"{figures['epoch']:g}/{self._num_epochs}", values, f"  {_BEST}" if best else "")

    def _row(self, epoch: str, cells: list[str], mark: str = "") -> str:
        size = max(len("Epoch"), 2 * len(str(self._num_epochs)) + 1)
        widths = [max(_NARROWEST, len(_name(name))) for name in self._columns]
        return f"{epoch:>{size}}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)) + mark


def _name(name: str) -> str:
    return _HEADINGS.get(name) or title(name)


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "learning_rate":
        return f"{value:.3g}"
    return f"{value:.1f}" if name == "seconds" else f"{value:.4f}"
