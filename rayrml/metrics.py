"""Evaluation metrics as sums: what is added up over batches and workers gives the same figure for any split.

Outputs are probabilities or anything else that ranks classes as they do; a single channel is the probability of
class 1 of two.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch

MOST_CLASSES = 1000  # of which it is counted how often each is taken for which: there are as many pairs squared


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often each true class was taken for which, and what follows for each class; 0 where nothing follows.

    Attributes:
        counts: a row for each true class, a column for each predicted one.
        precision: share of what was predicted as the class that is of the class.
        recall: share of the class that was predicted as such.
        f1: harmonic mean of precision and recall.
    """

    counts: list[list[int]]
    precision: list[float]
    recall: list[float]
    f1: list[float]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure computed from sums.

    Attributes:
        name: as printed, in lower case.
        sums: (output (N, C, *spatial), target) -> a float64 vector to be added up.
        value: the added vector -> the figure.
        report: the added vector -> more than one figure can say, None if there is nothing more.
    """

    name: str
    sums: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    value: Callable[[torch.Tensor], float]
    report: Callable[[torch.Tensor], Confusion] | None = None


class Pairs:
    """Counts how often each class was taken for which, batch by batch, where a sample has one label.

    Attributes:
        counts: (classes * classes,) float64, to be added up over workers; None as long as nothing was counted.
    """

    def __init__(self, ignore_index: int | None = None):
        self._ignore_index = ignore_index
        self.counts: torch.Tensor | None = None

    def add(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """Count a batch (N, C) with labels (N,); others, such as masks and shares of classes, are not counted."""
        size = max(output.shape[1], 2)
        if output.ndim != 2 or target.ndim != 1 or target.is_floating_point() or size > MOST_CLASSES:
            return
        if self.counts is None:
            self.counts = torch.zeros(size * size, dtype=torch.float64, device=output.device)
        # Losses pass over labels of classes that there are not: those of PyTorch over -100.
        counts = _kept(target, self._ignore_index) & (target >= 0) & (target < size)
        _add_pairs(self.counts, output, target, counts)


def accuracy(*, ignore_index: int | None = None) -> Metric:
    """Share of samples (or pixels) whose predicted class is the true one.

    Of targets of floats it is the share of numbers that are on the same side of 0.5 as the output's.
    """
    return Metric("accuracy", functools.partial(_hits_and_count, ignore_index=ignore_index), _share)


def dice(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of 2 |P T| / (|P| + |T|), for the predicted pixels P and the true ones T of all samples."""
    return Metric("dice", functools.partial(_regions, ignore_index=ignore_index), _dice)


def jaccard(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of |P T| / |P or T|, for the predicted pixels P and the true ones T of all samples."""
    return Metric("jaccard", functools.partial(_regions, ignore_index=ignore_index), _jaccard)


def f1(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the harmonic mean of precision and recall; its `report` is the confusion matrix."""
    return Metric("f1", functools.partial(_pairs, ignore_index=ignore_index), _mean_f1, confusion)


def confusion(counts: torch.Tensor) -> Confusion:
    """What counts of pairs of classes, (classes, classes) or as one vector, say of each class."""
    matrix = _matrix(counts).cpu()
    both, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    return Confusion(
        counts=matrix.long().tolist(),
        precision=(both / predicted.clamp(min=1)).tolist(),
        recall=(both / true.clamp(min=1)).tolist(),
        f1=(2 * both / (predicted + true).clamp(min=1)).tolist(),
    )


def predicted_classes(output: torch.Tensor) -> torch.Tensor:
    """The classes (N, *spatial) that an output (N, C, *spatial) speaks for."""
    return output.argmax(1) if output.shape[1] > 1 else (output[:, 0] > 0.5).long()


def _labels(target: torch.Tensor) -> torch.Tensor:
    """The classes of a target: itself, or those that shares of classes (N, C, *spatial) speak for."""
    return predicted_classes(target) if target.is_floating_point() else target


def _kept(target: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    return torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index


def _hits_and_count(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    hits = (output > 0.5) == (target > 0.5) if target.is_floating_point() else predicted_classes(output) == target
    if ignore_index is None:
        return torch.stack([hits.sum(), hits.new_full((), hits.numel(), dtype=torch.int64)]).double()
    counts = _kept(target, ignore_index)
    return torch.stack([(hits & counts).sum(), counts.sum()]).double()


def _share(sums: torch.Tensor) -> float:
    return float(sums[0] / sums[1].clamp(min=1))


def _tally(index: torch.Tensor, counts: torch.Tensor, size: int) -> torch.Tensor:
    """How many of each index below `size` count: float64 (size,)."""
    return _add_to(torch.zeros(size, dtype=torch.float64, device=index.device), index, counts)


def _add_to(tally: torch.Tensor, index: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    # Not bincount, which makes the CPU wait for the GPU.
    return tally.index_add_(0, index.flatten(), counts.flatten().double())


def _regions(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    """Pixels of each class that are predicted and true, that are predicted, that are true: (3 * classes,)."""
    size, target = max(output.shape[1], 2), _labels(target)
    predicted, counts = predicted_classes(output), _kept(target, ignore_index)
    truth = torch.where(counts, target, 0)
    both = counts & (predicted == truth)
    tallies = torch.stack([_tally(truth, both, size), _tally(predicted, counts, size), _tally(truth, counts, size)])
    # Of two classes in a single channel the background is not looked at.
    return (tallies if output.shape[1] > 1 else tallies[:, 1:]).flatten()


def _pairs(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    """How often each class was taken for which: (classes * classes,), rows are true classes."""
    size = max(output.shape[1], 2)
    tally, target = torch.zeros(size * size, dtype=torch.float64, device=output.device), _labels(target)
    return _add_pairs(tally, output, target, _kept(target, ignore_index))


def _add_pairs(tally: torch.Tensor, output: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return _add_to(tally, torch.where(counts, target, 0) * max(output.shape[1], 2) + predicted_classes(output), counts)


def _dice(sums: torch.Tensor) -> float:
    both, predicted, true = sums.view(3, -1)
    return _mean_of_occurring(2 * both, predicted + true)


def _jaccard(sums: torch.Tensor) -> float:
    both, predicted, true = sums.view(3, -1)
    return _mean_of_occurring(both, predicted + true - both)


def _mean_f1(sums: torch.Tensor) -> float:
    matrix = _matrix(sums)
    return _mean_of_occurring(2 * matrix.diagonal(), matrix.sum(0) + matrix.sum(1))


def _mean_of_occurring(part: torch.Tensor, whole: torch.Tensor) -> float:
    """Mean of part / whole over the classes that were predicted or true; 1 if there was nothing to be found."""
    occurring = whole > 0
    return float((part[occurring] / whole[occurring]).mean()) if occurring.any() else 1.0


def _matrix(sums: torch.Tensor) -> torch.Tensor:
    size = round(sums.numel() ** 0.5)
    return sums.view(size, size)


METRICS = {"accuracy": accuracy, "dice": dice, "jaccard": jaccard, "f1": f1}
