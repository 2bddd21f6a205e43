"""Metrics for samples with any number of classes each: an output above 0.5 predicts a class."""

from __future__ import annotations

import functools

import torch

from rayrml.metrics.metric import Metric, counted, divide, predicted_classes
from rayrml.metrics.overlap import count_regions, mean_dice


def f1_macro(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the harmonic mean of precision and recall; samples may have several classes each."""
    return Metric("f1_macro", functools.partial(count_regions, ignore_index=ignore_index), mean_dice, "samples")


def f1_micro(*, ignore_index: int | None = None) -> Metric:
    """Harmonic mean of precision and recall of all classes together; samples may have several classes each."""
    return Metric("f1_micro", functools.partial(count_regions, ignore_index=ignore_index), _micro, "samples")


def exact_match(*, ignore_index: int | None = None) -> Metric:
    """Fraction of samples of which all classes are predicted, and no other."""
    return Metric("exact_match", functools.partial(_matches_and_count, ignore_index=ignore_index), divide, "samples")


def _micro(sums: torch.Tensor) -> float | None:
    both, predicted, true = sums.view(3, -1).sum(1)
    return float(2 * both / (predicted + true)) if predicted + true > 0 else None


def _matches_and_count(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    if target.is_floating_point() and target.shape == output.shape:
        matches = ((output > 0.5) == (target > 0.5)).flatten(1).all(1)
        return torch.stack([matches.sum(), matches.new_full((), len(matches), dtype=torch.int64)]).double()
    counts = counted(target, ignore_index)
    return torch.stack([((predicted_classes(output) == target) & counts).sum(), counts.sum()]).double()


METRICS = {"f1_macro": f1_macro, "f1_micro": f1_micro, "exact_match": exact_match}
