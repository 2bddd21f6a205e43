"""What an evaluation finds: the loss, the metric, and what the figures of each class or number follow from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from rayrml.metrics.average_precision import AveragePrecisions
from rayrml.metrics.columns import Kind, figures_of_columns
from rayrml.metrics.confusion import confusion

FiguresByPart = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class PartNames:
    """What the parts are called that have figures of their own.

    Attributes:
        classes: class names in the order of the network's outputs, () if unknown.
        values: names of the numbers that the network outputs, () if it outputs none of a table.
        pixels: whether pixels have classes, not samples.
    """

    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    pixels: bool = False


class Details(Protocol):
    """What the figures of each class or number follow from; arrays, as it is sent to the driver."""

    def by_part(self, names: PartNames) -> FiguresByPart:
        """The figures of each class or number by their names."""
        ...


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """How often each class was predicted as which class.

    Attributes:
        counts: (classes, classes) int64 numbers of samples or pixels by true class (row) and predicted class.
    """

    counts: np.ndarray

    def by_part(self, names: PartNames) -> FiguresByPart:
        """Counts, recall and precision of each class, and their mean; of pixels, the overlap of masks."""
        found = confusion(torch.from_numpy(self.counts.astype(np.float64)))  # arrays from Ray are read-only
        columns = {"pixels" if names.pixels else "samples": self.counts.sum(1).tolist()}
        columns |= {"recall": found.recall, "precision": found.precision}
        columns |= {"iou": found.iou, "dice": found.f1} if names.pixels else {"f1": found.f1}
        return _transpose(name_classes(names.classes, len(self.counts)), columns)


@dataclasses.dataclass(frozen=True)
class ColumnDetails:
    """What the figures of each column of a table's targets follow from.

    Attributes:
        sums: see `ColumnSums`.
        kind: what the columns are.
    """

    sums: np.ndarray
    kind: Kind

    def by_part(self, names: PartNames) -> FiguresByPart:
        """The figures of each column."""
        figures = figures_of_columns(torch.from_numpy(self.sums.copy()), self.kind)
        return _transpose(names.values or names.classes, figures)


@dataclasses.dataclass(frozen=True)
class BoxDetails:
    """How well the boxes of each class are found.

    Attributes:
        found: the figures of each class.
    """

    found: AveragePrecisions

    def by_part(self, names: PartNames) -> FiguresByPart:
        """The figures of each class."""
        columns = {name: column.tolist() for name, column in self.found.columns.items()}
        columns["boxes"] = self.found.columns["boxes"].astype(np.int64).tolist()
        return _transpose(name_classes(names.classes, len(self.found.columns["boxes"])), columns)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one pass over samples has found, over all workers.

    Attributes:
        loss: mean over all samples, None without targets.
        metric: name of the metric, "" if there is none.
        value: the metric over all samples, None if there is none, or if it is undefined.
        details: what the figures of each class or number follow from, None if they have none.
        others: further figures by their names.
    """

    loss: float | None
    metric: str = ""
    value: float | None = None
    details: Details | None = None
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float]:
        """The metric by its name, if there is one and it is defined, and the other figures."""
        return ({} if self.value is None else {self.metric: self.value}) | {**self.others}


def name_classes(classes: Sequence[str], count: int) -> list[str]:
    """A name for each of `count` outputs: its number if the class name is unknown."""
    return [*classes[:count], *(str(number) for number in range(len(classes), count))]


def _transpose(names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> FiguresByPart:
    """The figures of each name, from those of all names by figure."""
    rows = zip(*columns.values(), strict=True)
    return {name: dict(zip(columns, row, strict=True)) for name, row in zip(names, rows, strict=True)}
