"""Mean, deviation and range of samples by channel, added up over batches."""

from __future__ import annotations

import numpy as np
import torch

_MOST_NUMBERS = 2**24  # of samples that are added at a time


class ChannelStatistics:
    """What the values of each channel are, over all samples added so far; values that are not finite only count.

    Attributes:
        num_samples: how many samples there were.
        not_finite: how many of their values are NaN or infinite.
        minimum: (C,) of each channel, infinite without values.
        maximum: (C,) of each channel.
        mean: (C,) of each channel.
    """

    def __init__(self) -> None:
        self.num_samples = 0
        self.not_finite = 0
        self.minimum = self.maximum = self.mean = np.empty(0)
        self._counts = self._squares = np.empty(0)

    @property
    def deviation(self) -> np.ndarray:
        """(C,) the root of the mean squared difference from the mean."""
        return np.sqrt(self._squares / np.maximum(self._counts, 1))

    def add(self, samples: torch.Tensor) -> None:
        """Add samples (N, C, *spatial)."""
        step = max(_MOST_NUMBERS // max(samples[:1].numel(), 1), 1)
        for part in samples.split(step):
            self._add(part.transpose(0, 1).flatten(1).double().numpy())
        self.num_samples += len(samples)

    def _add(self, values: np.ndarray) -> None:
        """Add (C, n) values. Source: Chan, Golub and LeVeque, 1979, equations 2.1a and 2.1b."""
        finite = np.isfinite(values)
        counts = finite.sum(1)
        self.not_finite += int(finite.size - counts.sum())
        divisor = np.maximum(counts, 1)
        mean = np.where(finite, values, 0).sum(1) / divisor
        squares = (np.where(finite, values - mean[:, None], 0) ** 2).sum(1)
        lowest = np.where(finite, values, np.inf).min(1, initial=np.inf)
        highest = np.where(finite, values, -np.inf).max(1, initial=-np.inf)
        if not len(self.mean):
            self.mean, self._squares, self._counts = mean, squares, counts
            self.minimum, self.maximum = lowest, highest
            return
        together = self._counts + counts
        change = mean - self.mean
        share = counts / np.maximum(together, 1)
        self._squares = self._squares + squares + change**2 * self._counts * share
        self.mean = self.mean + change * share
        self._counts = together
        self.minimum, self.maximum = np.minimum(self.minimum, lowest), np.maximum(self.maximum, highest)
