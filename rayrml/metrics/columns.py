"""Figures of each column of a table's targets: of each class that samples may have, or of each number."""

from __future__ import annotations

from typing import Literal

import torch

from rayrml.metrics.metric import LIKELY
from rayrml.metrics.regression import merge_moments, moments

MOST_COLUMNS = 10_000  # for which figures are kept

Kind = Literal["classes", "number"]


class ColumnSums:
    """Adds up what the figures of each column need, batch by batch, for targets (N, K).

    Attributes:
        kind: whether columns are classes, whose targets are 0 or 1, or numbers.
        sums: (rows * K,) float64, to be merged over workers; None until something is counted.
    """

    def __init__(self, kind: Kind):
        self.kind: Kind = kind
        self.sums: torch.Tensor | None = None

    def add(self, output: torch.Tensor, target: torch.Tensor) -> None:
        """Add a batch: scores or numbers (N, K) and targets (N, K)."""
        if output.shape != target.shape or output.ndim != 2 or output.shape[1] > MOST_COLUMNS:
            return
        found = (_count(output, target) if self.kind == "classes" else _measure(output, target)).flatten()
        self.sums = found if self.sums is None else self.merge(self.sums, found)

    def merge(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The sums of two parts together."""
        if self.kind == "classes":
            return first + second
        size = len(first) // _ROWS["number"]
        absolute = first[:size] + second[:size]
        return torch.cat([absolute, merge_moments(first[size:], second[size:])])


def figures_of_columns(sums: torch.Tensor, kind: Kind) -> dict[str, list[float]]:
    """The figures of each column by their names, from the sums over all batches and workers; NaN if undefined."""
    return {name: column.tolist() for name, column in _FIGURES[kind](sums.view(_ROWS[kind], -1)).items()}


def _count(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """For each class, how many samples have it and are said to have it, are said to have it, have it: (3, K)."""
    predicted, truth = output > LIKELY, target > LIKELY
    return torch.stack([(predicted & truth).sum(0), predicted.sum(0), truth.sum(0)]).double()


def _measure(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The sum of absolute errors of each number, and its `moments`: (6, K)."""
    absolute = (output.double() - target.double()).abs().sum(0)
    return torch.cat([absolute, moments(output, target)]).view(_ROWS["number"], -1)


def _of_classes(sums: torch.Tensor) -> dict[str, torch.Tensor]:
    both, predicted, true = sums
    return {
        "samples": true,
        "recall": both / true.clamp(min=1),
        "precision": both / predicted.clamp(min=1),
        "f1": 2 * both / (predicted + true).clamp(min=1),
    }


def _of_numbers(sums: torch.Tensor) -> dict[str, torch.Tensor]:
    absolute, count, _, _, spread, errors = sums
    varies = spread != 0  # exactly 0 for equal targets
    return {
        "mean_absolute_error": absolute / count.clamp(min=1),
        "root_mean_squared_error": (errors / count.clamp(min=1)).sqrt(),
        "r2": torch.where(varies, 1 - errors / torch.where(varies, spread, 1.0), torch.nan),
    }


_ROWS = {"classes": 3, "number": 6}
_FIGURES = {"classes": _of_classes, "number": _of_numbers}
