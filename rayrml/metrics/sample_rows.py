"""Rows of numbers of samples, in the samples' order whatever batches and workers they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class NumberedRows(NamedTuple):
    """Rows of some samples.

    Attributes:
        numbers: (n,) of the samples, among all of them.
        rows: (n, K) float64.
    """

    numbers: np.ndarray
    rows: np.ndarray


class SampleRows:
    """Collects a row of numbers for each sample, batch by batch."""

    def __init__(self) -> None:
        self._parts: list[NumberedRows] = []

    def add(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Add the `rows` (n, K) of the samples with these `numbers` (n,)."""
        self._parts.append(NumberedRows(np.asarray(numbers), np.asarray(rows, np.float64)))

    @property
    def part(self) -> NumberedRows | None:
        """All rows, to be joined with those of other workers by `in_order`; None if there are none."""
        filled = [part for part in self._parts if len(part.numbers)]
        return NumberedRows(*map(np.concatenate, zip(*filled, strict=True))) if filled else None


def in_order(parts: Sequence[NumberedRows | None]) -> np.ndarray:
    """(n, K) the rows of all workers' parts in the order of the samples' numbers; (0, 0) if there are none."""
    filled = [part for part in parts if part is not None]
    if not filled:
        return np.zeros((0, 0))
    numbers, rows = map(np.concatenate, zip(*filled, strict=True))
    return rows[np.argsort(numbers, kind="stable")]
