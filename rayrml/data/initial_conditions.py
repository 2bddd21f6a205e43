"""Initial values for differential equations in one dimension, computed from their index instead of read from files."""

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

    They consist of raised cosines b(x) = (1 - cos(2 pi c x / domain_size)) / 2, so they are in [0, 1], with b(0) = 0.
    An example depends only on the arguments, not on earlier examples.

    Args:
        index: index of the example, from 0.
        number: number of examples.
        domain_size: number of points.
        bc_frequency: the lowest and the highest frequency c: how many cosines fit into the domain.
        bc_type: `fixed_uniform`: one cosine, whose frequency rises in equal steps from the lowest, for the first
            example, to the highest, for the last. `random_uniform`: frequencies drawn uniformly; examples with an even
            index are one cosine, those with an odd index a mean of two or three, with random weights.
        seed: numbers shared by all random examples of a run; another seed gives other examples.
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
    """The mean (1, domain_size) of raised cosines with `frequencies` (k,) and `weights` (k,), which sum to 1."""
    x = np.arange(domain_size)
    cosines = (1 - np.cos(2 * np.pi * frequencies[:, None] * x / domain_size)) / 2
    # Rounding may push a mean of numbers up to 1 above 1.
    return (weights @ cosines).clip(0, 1).astype(np.float32)[None]
