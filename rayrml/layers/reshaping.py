"""Layers that rearrange, pad and cut."""

from __future__ import annotations

import functools
import math

import torch

from rayrml.layers.layer import Layer, Shape, expect_rank
from rayrml.layers.layout import to_keras
from rayrml.layers.padding import PaddingOption, pad, pairs


class Flatten(Layer):
    """All numbers of a sample in one row, in Keras's order: the channels of the first position, of the second, ..."""

    def __init__(self, shape: Shape):
        super().__init__()

    def output_shape(self, *shapes: Shape) -> Shape:
        """(product of the sizes,)."""
        sizes = [size for size in shapes[0] if size is not None]
        return (math.prod(sizes) if len(sizes) == len(shapes[0]) else None,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, *spatial * C)."""
        return to_keras(x).flatten(1) if x.ndim > 2 else x


class ZeroPadding(Layer):
    """Zeros around the spatial axes."""

    def __init__(self, rank: int, shape: Shape, *, padding: PaddingOption = 1):
        super().__init__()
        expect_rank(shape, rank)
        self.rank = rank
        self.pads = pairs(padding, rank)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, *padded spatial)."""
        expect_rank(shapes[0], self.rank)
        sizes = zip(shapes[0][1:], self.pads, strict=True)
        return (shapes[0][0], *(None if size is None else size + sum(pads) for size, pads in sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *padded spatial)."""
        return pad(x, self.pads)


LAYERS = {
    "Flatten": Flatten,
    "ZeroPadding1D": functools.partial(ZeroPadding, 1),
    "ZeroPadding2D": functools.partial(ZeroPadding, 2),
    "ZeroPadding3D": functools.partial(ZeroPadding, 3),
}
