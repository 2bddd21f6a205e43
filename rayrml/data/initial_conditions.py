"""Initial values for differential equations in one dimension, made from their number instead of read from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Kind = Literal["random_uniform", "fixed_uniform"]


def make_initial_condition(
    index: int,
    number: int,
    *,
    domain_size: int,
    bc_frequency: tuple[float, float],
    bc_type: Kind,
    seed: Sequence[int],
) -> np.ndarray:
    """The initial values (1, domain_size) float32 of one of `number` examples, at x = 0, 1, ..., domain_size - 1.

    They are made of raised cosines b(x) = (1 - cos(2 pi c x / domain_size)) / 2, so they lie in [0, 1], with
    b(0) = 0. An example depends on the arguments alone, not on those made before it.

    Args:
        index: which of the examples, from 0.
        number: how many examples there are.
        domain_size: number of points.
        bc_frequency: the least and the largest frequency c: how many cosines fit into the domain.
        bc_type: `fixed_uniform`: one cosine, whose frequency goes in equal steps from the least, for the first
            example, to the largest, for the last one. `random_uniform`: frequencies drawn uniformly; the examples of
            even index are one cosine, those of odd index a mean of two or three, with random weights.
        seed: numbers that all random examples of a run share; another seed gives others.
    """
    least, largest = bc_frequency
    if bc_type == "fixed_uniform":
        step = (largest - least) / (number - 1) if number > 1 else 0.0
        return _mean_of_cosines(np.array([least + index * step]), np.ones(1), domain_size)
    draws = np.random.default_rng([*seed, index])
    count = int(draws.integers(2, 4)) if index % 2 else 1
    weights = draws.dirichlet(np.ones(count))
    return _mean_of_cosines(draws.uniform(least, largest, count), weights, domain_size)


def _mean_of_cosines(frequencies: np.ndarray, weights: np.ndarray, domain_size: int) -> np.ndarray:
    """The weighted mean of raised cosines of some frequencies (k,), for weights (k,) of sum 1: (1, domain_size)."""
    x = np.arange(domain_size)
    cosines = (1 - np.cos(2 * np.pi * frequencies[:, None] * x / domain_size)) / 2
    # Rounding may take a mean of numbers up to 1 beyond it.
    return (weights @ cosines).clip(0, 1).astype(np.float32)[None]
