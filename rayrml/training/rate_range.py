"""Which learning rates a range test tries, and what it makes of their losses. Neither torch nor Ray is needed.

Source: arXiv 1506.01186, section 3.3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

_MEMORY = 0.9  # of the moving mean: the share that the losses before keep
_WIDTH = 2.5  # steps: the standard deviation of the weights by which a curve is smoothed
_SAFE_SHARE = 0.25  # of the rate with the lowest loss
_ROUNDING = 1e-5  # of a loss
_TIMES = 3.0  # how far the loss rises above its lowest value, measured by how far it had come down
_LEAST_STEPS = 10  # before it counts as diverged, or as having come down


@dataclasses.dataclass(frozen=True)
class RateRange:
    """Learning rates that grow by the same factor from step to step.

    Attributes:
        lowest: of the first step.
        highest: of the last step.
        num_steps: at least 2.
    """

    lowest: float
    highest: float
    num_steps: int

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return self.lowest * (self.highest / self.lowest) ** (step / (self.num_steps - 1))


class Divergence:
    """Whether losses, of which one comes after each step, have risen so far that larger rates say nothing more."""

    def __init__(self) -> None:
        self._losses: list[float] = []

    def add(self, loss: float) -> bool:
        """Add the loss of a step; return whether the test is over."""
        self._losses.append(loss)
        if not math.isfinite(loss):
            return True
        if len(self._losses) <= _LEAST_STEPS:
            return False
        smoothed = _mean_so_far(self._losses)
        lowest = smoothed.min()
        return bool(smoothed[-1] - lowest > _TIMES * max(abs(lowest), (smoothed[0] - lowest) / 2))


def _mean_so_far(losses: Sequence[float]) -> np.ndarray:
    """(n,) the moving mean of losses (n,), corrected for its beginning. Source: arXiv 1412.6980, section 3."""
    mean, smoothed = 0.0, np.empty(len(losses))
    for number, loss in enumerate(losses, 1):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        smoothed[number - 1] = mean / (1 - _MEMORY**number)
    return smoothed


def smooth(losses: Sequence[float]) -> np.ndarray:
    """(n,) the mean of the losses (n,) before and after each, nearer ones more; from the first infinite one on, NaN."""
    known = np.asarray(losses[: count_finite(losses)], float)
    distances = np.arange(len(known))[:, None] - np.arange(len(known))
    weights = np.exp(-((distances / _WIDTH) ** 2) / 2)
    smoothed = np.full(len(losses), np.nan)
    smoothed[: len(known)] = weights @ known / weights.sum(1)
    return smoothed


def count_finite(losses: Sequence[float]) -> int:
    """How many losses there are before the first one that is not finite."""
    return next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The learning rate at which the loss has fallen half of the way to its lowest value; None if it does not fall.

    It is at most a quarter of the rate with the lowest loss: with momentum, a divergence shows only some steps later,
    and thus at larger rates. The loss at the beginning is that of the first fifth of the steps; a fall that is less
    than these differ is none.
    """
    known = count_finite(losses)
    first = max(known // 5, 1)
    if known <= _LEAST_STEPS:
        return None
    smoothed = smooth(losses)[:known]
    beginning, noise = float(np.median(losses[:first])), float(np.std(losses[:first]))
    lowest = int(smoothed.argmin())
    if lowest < first or beginning - smoothed[lowest] <= noise + _ROUNDING * abs(beginning):
        return None
    half = (beginning + smoothed[lowest]) / 2
    before = int(np.flatnonzero(smoothed[: lowest + 1] >= half)[-1])
    share = (smoothed[before] - half) / (smoothed[before] - smoothed[before + 1])
    halfway = rates[before] * (rates[before + 1] / rates[before]) ** share
    return float(min(halfway, rates[lowest] * _SAFE_SHARE))
