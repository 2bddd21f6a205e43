"""How far samples are from real ones, added up over batches and over workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from rayrml.endings import UNIT, Range
from rayrml.inference.judge import Judge
from rayrml.metrics.frechet import Variety, frechet_distance, measure_variety
from rayrml.metrics.sample_rows import SampleRows, in_order
from rayrml.metrics.sliced_wasserstein import Projection, make_directions, sliced_wasserstein
from rayrml.workers import Workers

Kind = Literal["real", "compared"]
_KINDS: tuple[Kind, ...] = ("real", "compared")
_TABLES = ("projections", "features", "probabilities")


class SampleComparison:
    """Collects what the distances of samples from real ones follow from.

    Args:
        shape: (C, *spatial) of all samples.
        values: what is compared as 0 and as 1.
        judge: by which samples are compared, too; None without one.
        device: the one that samples are on.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        values: Range = UNIT,
        judge: Judge | None = None,
        device: torch.device | None = None,
    ):
        self._low, self._high = values
        self._project = Projection(make_directions(math.prod(shape)), low=self._low, high=self._high, device=device)
        self._judge = judge if judge is None or device is None else judge.to(device)
        self._rows = {(kind, table): SampleRows() for kind in _KINDS for table in _TABLES}

    def add(self, kind: Kind, numbers: np.ndarray, samples: torch.Tensor) -> None:
        """Add samples (n, C, *spatial) with these numbers (n,) among all of their kind."""
        if not len(numbers):
            return
        self._rows[kind, "projections"].add(numbers, self._project(samples))
        if self._judge is not None:
            features, probabilities = self._judge((samples.float() - self._low) / (self._high - self._low))
            self._rows[kind, "features"].add(numbers, features)
            self._rows[kind, "probabilities"].add(numbers, probabilities)

    def figures(self, workers: Workers) -> tuple[dict[str, float], Variety | None]:
        """The figures of the compared samples by their names, without those that are undefined, and their classes.

        All workers must call it. Those of projections are the same to the last bit for any number of workers.
        """
        gathered = workers.gather({key: rows.part for key, rows in self._rows.items()})
        tables = {key: in_order([part[key] for part in gathered]) for key in self._rows}
        projections, features = ([tables[kind, table] for kind in _KINDS] for table in ("projections", "features"))
        found = {"swd": sliced_wasserstein(*projections)}
        if self._judge is None:
            return _defined(found), None
        variety = measure_variety(tables["compared", "probabilities"])
        found["frechet"] = frechet_distance(*features)
        found["entropy"] = None if variety is None else variety.entropy
        found["sure"] = None if variety is None else variety.sure
        return _defined(found), variety


def _defined(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
