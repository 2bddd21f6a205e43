"""The table of outputs that are no single class: the classes that each sample has, or its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from rayrml.endings import Ending, probabilities
from rayrml.metrics.metric import LIKELY

SEPARATOR = ";"  # between the classes of a sample


class Labelled(NamedTuple):
    """A sample that may have several classes.

    Attributes:
        path: the sample's name.
        labels: the classes that it has according to the network: those above the threshold.
        classes: all classes.
        probabilities: one per class.
        truth: the classes that it really has, None if that is unknown.
    """

    path: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    truth: tuple[str, ...] | None = None

    @property
    def cells(self) -> dict[str, str]:
        """The cells of its line in the table, by heading."""
        truth = {} if self.truth is None else {"true_labels": SEPARATOR.join(self.truth)}
        shown = {f"probability_{name}": f"{p:.6g}" for name, p in zip(self.classes, self.probabilities, strict=True)}
        return {"path": self.path, **truth, "labels": SEPARATOR.join(self.labels), **shown}

    @property
    def brief(self) -> dict[str, str]:
        """The cells of its line on the screen, by heading."""
        likely = (
            f"{name} {p:.3f}" for name, p in zip(self.classes, self.probabilities, strict=True) if name in self.labels
        )
        return {"Path": self.path, "Labels": ", ".join(likely) or "none"}

    @property
    def counted(self) -> tuple[str, ...]:
        """What is counted in the summary of many samples."""
        return self.labels


class Measured(NamedTuple):
    """A sample's numbers.

    Attributes:
        path: the sample's name.
        columns: the names of the numbers.
        values: one per column, in the unit of the table of targets.
        truth: the true numbers, None if they are unknown.
    """

    path: str
    columns: tuple[str, ...]
    values: tuple[float, ...]
    truth: tuple[float, ...] | None = None

    @property
    def cells(self) -> dict[str, str]:
        """The cells of its line in the table, by heading; the truth comes first, so that errors can be sorted."""
        parts = {"true": self.truth, "predicted": self.values}
        numbers = {
            f"{part}_{name}": f"{value:.7g}"
            for part, values in parts.items()
            for name, value in zip(self.columns, values or (), strict=values is not None)
        }
        return {"path": self.path, **numbers}

    @property
    def brief(self) -> dict[str, str]:
        """The cells of its line on the screen, by heading."""
        return {"Path": self.path, **{name: f"{v:.5g}" for name, v in zip(self.columns, self.values, strict=True)}}

    @property
    def counted(self) -> tuple[str, ...]:
        """Nothing: numbers are not counted."""
        return ()


@dataclasses.dataclass(frozen=True)
class Labeller:
    """Turns outputs (K,) into the classes of samples that may have several.

    Attributes:
        names: of the classes.
        ending: the kind of outputs.
        threshold: the probability above which a sample has a class.
    """

    names: tuple[str, ...]
    ending: Ending
    threshold: float = LIKELY

    def applies(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape have a number for each class."""
        return tuple(shape) == (len(self.names),)

    def row(self, path: str, output: np.ndarray, truth: np.ndarray | None = None) -> Labelled:
        """The line of a sample with this output (K,); `truth` (K,) is 1 for the classes that it has."""
        found = probabilities(torch.from_numpy(np.asarray(output, np.float64))[None], self.ending)[0].tolist()
        labels = tuple(name for name, p in zip(self.names, found, strict=True) if p > self.threshold)
        true = None if truth is None else tuple(name for name, one in zip(self.names, truth, strict=True) if one)
        return Labelled(path, labels, self.names, tuple(found), true)


@dataclasses.dataclass(frozen=True)
class Measurer:
    """Turns outputs (K,) into numbers with names."""

    columns: tuple[str, ...]

    def applies(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape have a number for each column."""
        return tuple(shape) == (len(self.columns),)

    def row(self, path: str, output: np.ndarray, truth: np.ndarray | None = None) -> Measured:
        """The line of a sample with this output (K,) and, if they are known, the true numbers (K,)."""
        true = None if truth is None else tuple(map(float, truth))
        return Measured(path, self.columns, tuple(map(float, output)), true)
