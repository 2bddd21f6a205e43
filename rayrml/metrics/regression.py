"""Metrics for numbers that stand for no classes."""

from __future__ import annotations

import torch

from rayrml.metrics.metric import Metric, divide


def r2(*, ignore_index: int | None = None) -> Metric:
    """1 - the squared errors' sum / that of the differences to the targets' mean; the mean over channels.

    1 for a perfect output, 0 for one that is always the mean. Channels whose targets do not vary are left out.
    """
    return Metric("r2", _moments, _r2, "values")


def mean_absolute_error(*, ignore_index: int | None = None) -> Metric:
    """Mean of the absolute differences between outputs and targets, in the targets' unit; lower is better."""
    return Metric("mean_absolute_error", _absolute_errors, divide, "values")


def root_mean_squared_error(*, ignore_index: int | None = None) -> Metric:
    """Square root of the mean squared difference, in the targets' unit; the mean over channels. Lower is better."""
    return Metric("root_mean_squared_error", _moments, _root, "values")


def _absolute_errors(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    errors = (output.double() - target.double()).abs()
    return torch.stack([errors.sum(), errors.new_full((), errors.numel())])


def _root(sums: torch.Tensor) -> float | None:
    count, _, _, errors = sums.view(4, -1)
    return float((errors / count).sqrt().mean()) if count.all() else None


def _moments(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Count, sum, sum of squares and sum of squared errors for each channel: (4 * channels,)."""
    truth, error = (_by_channel(part.double()) for part in (target, output.double() - target.double()))
    count = truth.new_full((len(truth),), truth.shape[1])
    return torch.cat([count, truth.sum(1), truth.square().sum(1), error.square().sum(1)])


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) as (C, numbers), (N,) as (1, N)."""
    return values.reshape(1, -1) if values.ndim == 1 else values.transpose(0, 1).flatten(1)


def _r2(sums: torch.Tensor) -> float | None:
    count, total, squares, errors = sums.view(4, -1)
    spread = squares - total.square() / count.clamp(min=1)
    # Rounding leaves a little of constants.
    varies = spread > 1e-12 * squares
    return float((1 - errors[varies] / spread[varies]).mean()) if varies.any() else None


METRICS = {
    "r2": r2,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}
