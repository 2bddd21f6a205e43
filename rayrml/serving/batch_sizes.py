"""The batch sizes for which a network's outputs are those of each sample alone, to the last bit.

Libraries add numbers up in another order in a batch of another size, so an output has other last bits. Which sizes
agree depends on the network, the device and the library; it is found out by trying.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = 5.0  # for all of them


def find_sizes(
    forward: Callable[[np.ndarray], Sequence[np.ndarray]], samples: Callable[[int], np.ndarray], most: int
) -> tuple[int, ...]:
    """The sizes, in ascending order; 1 is always one of them.

    Args:
        forward: computes the outputs of a batch (n, C, *spatial).
        samples: makes random samples (n, C, *spatial).
        most: the largest size.
    """
    found, started = [1], time.monotonic()
    wanted = [size for size in _SIZES if size <= most]
    if not wanted:
        return (1,)
    batch = samples(wanted[-1])
    alone: list[np.ndarray] = []
    for size in wanted:
        while len(alone) < size and time.monotonic() - started < _SECONDS:
            alone.append(forward(batch[len(alone) : len(alone) + 1])[0])
        if len(alone) < size:
            break
        together = forward(batch[:size])
        if all(np.array_equal(a, b, equal_nan=True) for a, b in zip(together, alone, strict=False)):
            found.append(size)
    return tuple(found)


def divide(count: int, sizes: Sequence[int]) -> list[int]:
    """Sizes that add up to `count`, the largest first; `sizes` are in ascending order and begin with 1."""
    parts: list[int] = []
    for size in reversed(sizes):
        parts += [size] * (count // size)
        count %= size
    return parts
