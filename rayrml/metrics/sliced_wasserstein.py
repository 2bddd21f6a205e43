"""The sliced Wasserstein distance of two sets of samples. Source: arXiv 1710.10196, section 5; directions at random."""

from __future__ import annotations

import math

import numpy as np
import torch

NUM_DIRECTIONS = 256
_BITS = 52  # of a float64's whole numbers, less one
_FIRST_BITS, _ALL_BITS = 15, 30  # of samples, behind the binary point
_MOST_NUMBERS = 2**23  # that are projected at once


def make_directions(size: int) -> np.ndarray:
    """(256, size) float64 vectors of length 1, always the same for samples of `size` numbers."""
    vectors = np.random.default_rng(0).standard_normal((NUM_DIRECTIONS, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Projection:
    """Projects samples on directions, always with the same bits: in any batches, and with any threads.

    A product of matrices adds up numbers in an order that depends on all of that. So samples and directions are divided
    into parts of few bits, whose products and sums are exact in float64 and thus the same in any order. Samples count
    with 30 bits behind the binary point, directions with nearly all of theirs.

    Args:
        directions: (K, D) of lengths up to 1.
        low: what stands for 0 in samples.
        high: what stands for 1 in samples.
        device: the one that computes.
    """

    def __init__(
        self,
        directions: np.ndarray,
        *,
        low: float = 0.0,
        high: float = 1.0,
        device: torch.device | None = None,
    ):
        size = directions.shape[1]
        # The sum of D products is at most the product of lengths: sqrt(D) for samples up to 1.
        first = _BITS - _FIRST_BITS - math.ceil(math.log2(size) / 2)
        rest = _BITS - _FIRST_BITS + first + 1 - math.ceil(math.log2(size))
        values = torch.from_numpy(np.asarray(directions, np.float64)).to(device)
        self._first = _round(values, first)
        self._rest = _round(values - self._first, rest)
        self._low, self._high = low, high

    @torch.no_grad()
    def __call__(self, samples: torch.Tensor) -> np.ndarray:
        """(N, K) float64, the products of samples (N, *shape) of D numbers each and the directions.

        Pixels in bytes are fractions of white, from 0 to 1. Rows with numbers that are not finite are not, either.
        """
        flat = samples.flatten(1)
        rows = max(_MOST_NUMBERS // max(flat.shape[1], 1), 1)
        parts = [self._project(part) for part in flat.split(rows) if len(part)]
        return np.concatenate([np.zeros((0, len(self._first))), *parts])

    def _project(self, samples: torch.Tensor) -> np.ndarray:
        floats = samples.float() / 255 if samples.dtype == torch.uint8 else samples
        values = (floats.to(self._first) - self._low) / (self._high - self._low)
        scale = _find_scale(values)
        values /= scale
        first = _round(values, _FIRST_BITS)
        rest = _round(values - first, _ALL_BITS)
        found = first @ self._first.T + (first @ self._rest.T + rest @ self._first.T)
        return (found * scale).cpu().numpy()


def sliced_wasserstein(one: np.ndarray, other: np.ndarray) -> float | None:
    """The mean over directions and ranks of the differences between sorted projections; None if it is undefined.

    Args:
        one: (n, K) the projections of samples, in the samples' order.
        other: (m, K) those of others. If there are fewer of one kind, as many of the first ones of the other count.
    """
    count = min(len(one), len(other))
    first, second = np.sort(one[:count], axis=0), np.sort(other[:count], axis=0)
    if not count or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    return float(np.abs(first - second).mean())


def _find_scale(values: torch.Tensor) -> torch.Tensor:
    """(N, 1) a power of two for each sample (N, D), by which the division rounds nothing and leaves numbers up to 1."""
    largest = values.abs().amax(1, keepdim=True).cpu().numpy()
    exponents = np.frexp(np.nextafter(np.where(np.isfinite(largest), np.maximum(largest, 1), 1), 0))[1]
    return torch.from_numpy(np.ldexp(1.0, exponents)).to(values)


def _round(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Values with so many binary digits behind the point."""
    return (values * 2.0**bits).round_() * 2.0**-bits
