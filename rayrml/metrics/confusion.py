"""How often each class was taken for which, and what follows from that."""

from __future__ import annotations

import dataclasses

import torch

from rayrml.metrics.metric import add_to, counted, predicted_classes

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
        counts = counted(target, self._ignore_index) & (target >= 0) & (target < size)
        add_pairs(self.counts, output, target, counts)


def confusion(counts: torch.Tensor) -> Confusion:
    """What counts of pairs of classes, (classes, classes) or as one vector, say of each class."""
    matrix = as_matrix(counts).cpu()
    both, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    return Confusion(
        counts=matrix.long().tolist(),
        precision=(both / predicted.clamp(min=1)).tolist(),
        recall=(both / true.clamp(min=1)).tolist(),
        f1=(2 * both / (predicted + true).clamp(min=1)).tolist(),
    )


def add_pairs(tally: torch.Tensor, output: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Add to `tally`, a number for each pair of classes, how often each true one was taken for which."""
    return add_to(tally, torch.where(counts, target, 0) * max(output.shape[1], 2) + predicted_classes(output), counts)


def as_matrix(sums: torch.Tensor) -> torch.Tensor:
    """The counts of pairs as (classes, classes); rows are true classes."""
    size = round(sums.numel() ** 0.5)
    return sums.view(size, size)
