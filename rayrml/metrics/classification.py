"""Metrics for samples or pixels with one class each."""

from __future__ import annotations

import functools

import torch

from rayrml.metrics.metric import Metric, counted, divide, predicted_classes, true_classes
from rayrml.metrics.overlap import count_classes, mean_dice, mean_of_occurring


def accuracy(*, ignore_index: int | None = None) -> Metric:
    """Fraction of samples whose predicted class is the true one.

    For float targets, it is the fraction of numbers that are on the same side of 0.5 as the output's.
    """
    return Metric("accuracy", functools.partial(_hits_and_count, ignore_index=ignore_index), divide, "samples")


def pixel_accuracy(*, ignore_index: int | None = None) -> Metric:
    """Fraction of pixels whose predicted class is the true one; it is high where most pixels are background.

    For float targets, it is the fraction of numbers that are on the same side of 0.5 as the output's.
    """
    return Metric("pixel_accuracy", functools.partial(_hits_and_count, ignore_index=ignore_index), divide, "pixels")


def balanced_accuracy(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the fraction of their samples that are predicted as such: each class counts the same.

    Classes that no sample has are left out.
    """
    counts = functools.partial(count_classes, ignore_index=ignore_index)
    return Metric("balanced_accuracy", counts, _mean_recall, "single")


def top5_accuracy(*, ignore_index: int | None = None) -> Metric:
    """Fraction of samples whose true class is among the five with the highest scores; for six classes or more."""
    hits = functools.partial(_top_hits_and_count, most=5, ignore_index=ignore_index)
    return Metric("top5_accuracy", hits, divide, "single", fewest_classes=6)


def f1(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the harmonic mean of precision and recall."""
    return Metric("f1", functools.partial(count_classes, ignore_index=ignore_index), mean_dice, "single")


def _hits_and_count(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    hits = (output > 0.5) == (target > 0.5) if target.is_floating_point() else predicted_classes(output) == target
    if ignore_index is None:
        return torch.stack([hits.sum(), hits.new_full((), hits.numel(), dtype=torch.int64)]).double()
    counts = counted(target, ignore_index)
    return torch.stack([(hits & counts).sum(), counts.sum()]).double()


def _top_hits_and_count(
    output: torch.Tensor, target: torch.Tensor, *, most: int, ignore_index: int | None
) -> torch.Tensor:
    target = true_classes(target)
    counts, size = counted(target, ignore_index), output.shape[1]
    known = counts & (target >= 0) & (target < size)
    index = torch.where(known, target, 0).unsqueeze(1)
    own = output.gather(1, index)
    numbers = torch.arange(size, device=output.device).view(-1, *[1] * (output.ndim - 2))
    # Of equal scores the first class wins, as in argmax; none of them beats NaN, which must not count as a hit.
    behind = (output < own) | ((output == own) & (numbers >= index))
    hits = known & ((~behind).sum(1) < most)
    return torch.stack([hits.sum(), counts.sum()]).double()


def _mean_recall(sums: torch.Tensor) -> float | None:
    both, _, true = sums.view(3, -1)
    return mean_of_occurring(both, true)


METRICS = {
    "accuracy": accuracy,
    "pixel_accuracy": pixel_accuracy,
    "balanced_accuracy": balanced_accuracy,
    "top5_accuracy": top5_accuracy,
    "f1": f1,
}
