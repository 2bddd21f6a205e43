"""Metrics for numbers that stand for no classes."""

from __future__ import annotations

import torch

from rayrml.metrics.metric import Metric, divide


def r2(*, ignore_index: int | None = None) -> Metric:
    """1 - the squared errors' sum / that of the differences to the targets' mean; the mean over channels.

    1 for a perfect output, 0 for one that is always the mean. Channels whose targets do not vary are left out.
    """
    return Metric("r2", moments, _r2, "values", merge=merge_moments)


def mean_absolute_error(*, ignore_index: int | None = None) -> Metric:
    """Mean of the absolute differences between outputs and targets, in the targets' unit; lower is better."""
    return Metric("mean_absolute_error", _absolute_errors, divide, "values")


def root_mean_squared_error(*, ignore_index: int | None = None) -> Metric:
    """Square root of the mean squared difference, in the targets' unit; the mean over channels. Lower is better."""
    return Metric("root_mean_squared_error", _squared_errors, _root, "values")


def _absolute_errors(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    errors = (output.double() - target.double()).abs()
    return torch.stack([errors.sum(), errors.new_full((), errors.numel())])


def _root(sums: torch.Tensor) -> float | None:
    count, errors = sums.view(2, -1)
    return float((errors / count).sqrt().mean()) if count.all() else None


def _squared_errors(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Count and sum of squared errors for each channel: (2 * channels,)."""
    error = _by_channel(output.double() - target.double())
    return torch.cat([_counts(error), error.square().sum(1)])


def moments(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """For each channel, what `merge_moments` merges: (5 * channels,).

    That is the count, a number near all targets, what the mean lies above it, the squared differences' sum to the mean,
    and that of the squared errors. Sums of squares would lose the differences of targets far from 0.
    """
    truth, error = (_by_channel(part.double()) for part in (target, output.double() - target.double()))
    base = truth[:, 0]
    above = truth - base[:, None]
    mean = above.mean(1)
    spread = (above - mean[:, None]).square().sum(1)
    return torch.cat([_counts(truth), base, mean, spread, error.square().sum(1)])


def merge_moments(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The `moments` of two sets of samples together.

    Source: Chan, Golub and LeVeque, Am. Stat. 37 (1983), equations 2.1.
    """
    count, base, mean, spread, errors = first.view(5, -1)
    more, other_base, other_mean, other_spread, other_errors = second.view(5, -1)
    total = count + more
    distance = (other_base - base) + (other_mean - mean)
    spread = spread + other_spread + distance.square() * (count * more / total)
    return torch.cat([total, base, mean + distance * (more / total), spread, errors + other_errors])


def _counts(rows: torch.Tensor) -> torch.Tensor:
    """The length of each row (channels, numbers)."""
    return rows.new_full((len(rows),), rows.shape[1])


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) as (C, numbers), (N,) as (1, N)."""
    return values.reshape(1, -1) if values.ndim == 1 else values.transpose(0, 1).flatten(1)


def _r2(sums: torch.Tensor) -> float | None:
    if not sums.numel():
        return None
    _, _, _, spread, errors = sums.view(5, -1)
    varies = spread != 0  # exactly 0 for equal targets
    return float((1 - errors[varies] / spread[varies]).mean()) if varies.any() else None


METRICS = {
    "r2": r2,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}
