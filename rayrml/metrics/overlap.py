"""Metrics of regions: how well the predicted region of a class overlaps the true one."""

from __future__ import annotations

import functools

import torch

from rayrml.metrics.metric import Metric, add_to, counted, predicted_classes, true_classes


def dice(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of 2 |P T| / (|P| + |T|), for the predicted pixels P and the true ones T of all samples.

    The background is a class like the others, also if the network has one channel for two classes.
    """
    return Metric("dice", functools.partial(count_regions, ignore_index=ignore_index), mean_dice)


def jaccard(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of |P T| / |P or T|, for the predicted pixels P and the true ones T of all samples.

    The background is a class like the others, also if the network has one channel for two classes.
    """
    return Metric("jaccard", functools.partial(count_regions, ignore_index=ignore_index), _jaccard)


def count_regions(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    """For each class, how many pixels are predicted and true, are predicted, are true: (3 * classes,).

    Float targets of several channels are a region each, which may overlap.
    """
    if target.is_floating_point() and target.shape == output.shape and output.shape[1] > 1:
        return _overlapping(output > 0.5, target > 0.5)
    return count_classes(output, target, ignore_index=ignore_index)


def count_classes(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    """The same for samples or pixels of one class each, whatever their targets' type."""
    size, target = max(output.shape[1], 2), true_classes(target)
    predicted, counts = predicted_classes(output), counted(target, ignore_index)
    truth = torch.where(counts, target, 0)
    both = counts & (predicted == truth)
    return torch.cat([_tally(truth, both, size), _tally(predicted, counts, size), _tally(truth, counts, size)])


def _overlapping(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The same numbers for bool regions (N, C, *spatial)."""
    each = (predicted & truth, predicted, truth)
    return torch.cat([regions.transpose(0, 1).flatten(1).sum(1).double() for regions in each])


def _tally(index: torch.Tensor, counts: torch.Tensor, size: int) -> torch.Tensor:
    """How many elements with each index below `size` count: float64 (size,)."""
    return add_to(torch.zeros(size, dtype=torch.float64, device=index.device), index, counts)


def mean_dice(sums: torch.Tensor) -> float | None:
    """The mean over classes of 2 |P T| / (|P| + |T|), which is also that of their F1, from `count_regions`."""
    both, predicted, true = sums.view(3, -1)
    return mean_of_occurring(2 * both, predicted + true)


def _jaccard(sums: torch.Tensor) -> float | None:
    both, predicted, true = sums.view(3, -1)
    return mean_of_occurring(both, predicted + true - both)


def mean_of_occurring(part: torch.Tensor, whole: torch.Tensor) -> float | None:
    """Mean of part / whole over the classes that were predicted or true; None if there was nothing to tell apart.

    That is so if a single class of several occurs at all, or the one class that counts does not: 1 would be no merit.
    """
    occurring = whole > 0
    if int(occurring.sum()) < min(2, len(whole)):
        return None
    return float((part[occurring] / whole[occurring]).mean())


METRICS = {"dice": dice, "jaccard": jaccard}
