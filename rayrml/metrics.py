"""Evaluation metrics as sums: what is added up over batches and workers gives the same figure for any split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure computed from sums.

    Attributes:
        name: as printed, in lower case.
        sums: (output (N, C, *spatial), target) -> a float64 vector to be added up.
        value: the added vector -> the figure.
    """

    name: str
    sums: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    value: Callable[[torch.Tensor], float]


def accuracy() -> Metric:
    """Share of samples (or pixels) whose largest output is that of the true class."""
    return Metric("accuracy", _hits_and_count, _ratio)


def _hits_and_count(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    hits = (output.argmax(1) == target).sum()
    return torch.stack([hits, hits.new_tensor(target.numel())]).double()


def _ratio(sums: torch.Tensor) -> float:
    return float(sums[0] / sums[1])


METRICS = {"accuracy": accuracy}
