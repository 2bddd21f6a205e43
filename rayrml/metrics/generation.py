"""How far generated samples are from real ones: the rows of the metric table, which other modules compute.

See `sliced_wasserstein` and `frechet`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from rayrml.metrics.metric import Metric


def sliced_wasserstein_distance(*, ignore_index: int | None = None) -> Metric:
    """Sliced Wasserstein distance of generated samples from real ones, in numbers from 0 to 1; the least is the best.

    Source: arXiv 1710.10196, section 5; the directions are random.
    """
    return Metric("swd", _no_sums, _no_value, compares="generated")


def frechet_distance_of_features(*, ignore_index: int | None = None) -> Metric:
    """Frechet distance of generated samples from real ones by the features of `metric_network`; the least is the best.

    Source: arXiv 1706.08500, equation 6, with a classifier of one's own.
    """
    return Metric("frechet", _no_sums, _no_value, compares="generated")


def _no_sums(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("samples are compared by the evaluation of generators")


def _no_value(sums: torch.Tensor) -> float | None:
    raise RuntimeError("samples are compared by the evaluation of generators")


METRICS: dict[str, Callable[..., Metric]] = {
    "swd": sliced_wasserstein_distance,
    "frechet": frechet_distance_of_features,
}
