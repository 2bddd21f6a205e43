"""How Keras tensors are held: if the rank is > 2, the last axis (the channels) is moved to position 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rayrml.errors import ConfigError, Problem

Shape = tuple[int | None, ...]  # as held, without the batch axis: (C, *spatial); None is any size


def to_keras(x: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) -> (N, *spatial, C), a view."""
    return x.movedim(1, -1)


def to_held(x: torch.Tensor) -> torch.Tensor:
    """(N, *spatial, C) -> (N, C, *spatial), a view."""
    return x.movedim(-1, 1)


def keras_shape(shape: Shape) -> Shape:
    """(C, *spatial) -> (*spatial, C)."""
    return (*shape[1:], *shape[:1])


def held_shape(shape: Sequence[int | None]) -> Shape:
    """(*spatial, C) -> (C, *spatial)."""
    return (*shape[-1:], *shape[:-1])


def held_axis(axis: int, shape: Shape, key: str = "axis") -> int:
    """The dimension, including the batch, that holds Keras's `axis` of a tensor of `shape`.

    Raises:
        ConfigError: the tensor has no such axis, or it is the batch axis.
    """
    rank = len(shape) + 1
    number = axis + rank if axis < 0 else axis
    if not 1 <= number < rank:
        message = f"axis {axis} is not one of 1 to {rank - 1} (or -1 to {1 - rank}), the input's axes after the batch"
        raise ConfigError(Problem(key, message))
    return 1 if number == rank - 1 else number + 1


def held_order(dims: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation from Keras's axis order to the held order, for axes held as `dims` (ascending)."""
    last = len(dims) - 1
    return (last, *range(last)) if dims[0] == 1 else tuple(range(len(dims)))
