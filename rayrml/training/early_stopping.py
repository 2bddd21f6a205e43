"""Early stopping of a run that no longer improves."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

from rayrml.reporting.history import to_cost


class EarlyStopping:
    """Counts epochs in which a figure did not improve; all workers see the same figures, so they decide alike.

    Args:
        patience: epochs without improvement after which the run ends.
        metric: the figure's name; of losses the smaller is better, of all other figures the larger.
        min_delta: smallest change that counts as an improvement.
    """

    def __init__(self, patience: int, metric: str, min_delta: float = 0.0):
        self.patience = patience
        self.metric = metric
        self.min_delta = min_delta
        self.best = math.inf
        self.waited = 0

    def update(self, figures: Mapping[str, float]) -> bool:
        """Whether the run should end after an epoch with these figures; one without the figure says nothing."""
        if self.metric not in figures:
            return False
        figure = to_cost(figures, self.metric)
        if figure < self.best - self.min_delta:
            self.best, self.waited = figure, 0
        else:
            self.waited += 1
        return self.over

    def ends_after(self, figures: Mapping[str, float]) -> bool:
        """What `update` would return, without counting the epoch."""
        return copy.copy(self).update(figures)

    @property
    def over(self) -> bool:
        """Whether the last epochs did not improve."""
        return self.waited >= self.patience

    def replay(self, history: Sequence[Mapping[str, float]]) -> None:
        """Count the epochs of an earlier run."""
        for figures in history:
            self.update(figures)
