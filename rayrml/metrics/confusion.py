"""The confusion matrix, and the metrics that follow from it."""

from __future__ import annotations

import dataclasses

import torch

from rayrml.metrics.metric import add_to, counted, predicted_classes, true_classes

MOST_CLASSES = 1000  # for which a confusion matrix is counted, because it grows with their square


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The confusion matrix, and what follows from it for each class; 0 where that is undefined.

    Attributes:
        counts: a row for each true class, a column for each predicted one.
        precision: fraction of the predictions of the class that are correct.
        recall: fraction of the samples of the class that were predicted as such.
        f1: harmonic mean of precision and recall; of masks, it is the Dice coefficient.
        iou: intersection over union of what is and what was predicted as the class.
    """

    counts: list[list[int]]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    iou: list[float]


class Pairs:
    """Accumulates the confusion matrix, batch by batch, for samples with one label each.

    Args:
        ignore_index: the label that does not count.
        pixels: whether to count pixels that have one label each, too.

    Attributes:
        counts: (classes * classes,) float64, to be summed over workers; None until something is counted.
    """

    def __init__(self, ignore_index: int | None = None, *, pixels: bool = False):
        self._ignore_index = ignore_index
        self._pixels = pixels
        self.counts: torch.Tensor | None = None

    def add(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """Count a batch (N, C) with labels (N,), and masks if pixels count; other targets are skipped."""
        size = max(output.shape[1], 2)
        if output.ndim > 2 and self._pixels:
            target = true_classes(target)
        if (output.ndim != 2 and not self._pixels) or size > MOST_CLASSES:
            return
        if target.ndim != output.ndim - 1 or target.is_floating_point():
            return
        if self.counts is None:
            self.counts = torch.zeros(size * size, dtype=torch.float64, device=output.device)
        # Losses skip labels of nonexistent classes: PyTorch's skip -100.
        counts = counted(target, self._ignore_index) & (target >= 0) & (target < size)
        add_pairs(self.counts, output, target, counts)


def confusion(counts: torch.Tensor) -> Confusion:
    """The confusion matrix and what follows from it, from its counts as (classes, classes) or as one vector."""
    matrix = as_matrix(counts).cpu()
    both, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    return Confusion(
        counts=matrix.long().tolist(),
        precision=(both / predicted.clamp(min=1)).tolist(),
        recall=(both / true.clamp(min=1)).tolist(),
        f1=(2 * both / (predicted + true).clamp(min=1)).tolist(),
        iou=(both / (predicted + true - both).clamp(min=1)).tolist(),
    )


def add_pairs(tally: torch.Tensor, output: torch.Tensor, target: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Add the pairs of true and predicted classes to `tally`, which has one number per pair."""
    return add_to(tally, torch.where(counts, target, 0) * max(output.shape[1], 2) + predicted_classes(output), counts)


def as_matrix(sums: torch.Tensor) -> torch.Tensor:
    """The counts of pairs as a matrix (classes, classes); rows are true classes."""
    size = round(sums.numel() ** 0.5)
    return sums.view(size, size)
