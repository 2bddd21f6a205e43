"""Reshaping: layers that rearrange, repeat, pad and crop."""

from __future__ import annotations

import functools
import math

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Positive, Shape, expect_rank, format_shape
from rayrml.networks.layers.layout import held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.padding import PaddingOption, Sizes, pad, pairs, spread
from rayrml.networks.layers.resampling import resample


class Flatten(Layer):
    """A sample's numbers as one vector, in Keras's order: the channels of the first position, of the second, ..."""

    keeps_numbers = True

    def __init__(self, shape: Shape):
        super().__init__()

    def output_shape(self, *shapes: Shape) -> Shape:
        """(product of the sizes,)."""
        return (_product(shapes[0]),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, *spatial * C)."""
        return to_keras(x).flatten(1) if x.ndim > 2 else x


class Reshape(Layer):
    """The numbers of a sample, in Keras's order, reshaped to `target_shape`, where one size may be -1."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, target_shape: tuple[int, ...]):
        super().__init__()
        self.target = target_shape
        if not target_shape or target_shape.count(-1) > 1 or any(size < 1 and size != -1 for size in target_shape):
            message = f"expected positive sizes and at most one -1, got {list(target_shape)}"
            raise ConfigError(Problem("target_shape", message))
        # Then no number changes its channel, and only the positions are reshaped.
        self.keeps_channels = len(shape) > 1 and len(target_shape) > 1 and shape[0] == target_shape[-1]

    def output_shape(self, *shapes: Shape) -> Shape:
        """The target shape, channels first."""
        total, known = _product(shapes[0]), math.prod(size for size in self.target if size != -1)
        if total is None:
            return held_shape(tuple(None if size == -1 else size for size in self.target))
        rest = total // known if known else 0
        sizes = tuple(rest if size == -1 else size for size in self.target)
        if math.prod(sizes) != total:
            message = f"{total} numbers do not fit into {list(self.target)}"
            raise ConfigError(Problem("target_shape", message))
        return held_shape(sizes)

    def lists_positions(self, shape: Shape) -> bool:
        """Whether an input of `shape` becomes a list of its positions, with the channels of each in a row."""
        channels, (first, *rest) = shape[0], self.target
        return first == -1 and bool(rest) and channels is not None and channels % math.prod(rest) == 0

    def expects_size(self, shape: Shape) -> bool:
        """Whether other sizes than those of `shape` would put numbers of other positions in the same place."""
        return not self.lists_positions(shape) and len(self.target) > 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C', *spatial')."""
        if self.keeps_channels:
            return x.reshape(*x.shape[:2], *self.target[:-1])
        return to_held(to_keras(x).reshape(x.shape[0], *self.target))


class Permute(Layer):
    """The axes of Keras's tensor in the order `dims`, numbered from 1 and without the batch."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, dims: tuple[int, ...]):
        super().__init__()
        rank = len(shape)
        if sorted(dims) != list(range(1, rank + 1)):
            raise ConfigError(Problem("dims", f"expected each of 1 to {rank} once, got {list(dims)}"))
        self.dims = dims

    def output_shape(self, *shapes: Shape) -> Shape:
        """The sizes in the new order."""
        sizes = keras_shape(shapes[0])
        return held_shape(tuple(sizes[dim - 1] for dim in self.dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C', *spatial')."""
        return to_held(to_keras(x).permute(0, *self.dims))


class RepeatVector(Layer):
    """The vector repeated `n` times, as a sequence."""

    def __init__(self, shape: Shape, *, n: Positive):
        super().__init__()
        expect_rank(shape, 0)
        self.n = n

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, n)."""
        return (shapes[0][0], self.n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C, n)."""
        return x.unsqueeze(2).expand(-1, -1, self.n)


class UpSampling(Layer):
    """The spatial axes enlarged by the factors `size`; images also with `interpolation`."""

    def __init__(self, rank: int, shape: Shape, *, size: Sizes = 2, interpolation: str = "nearest"):
        super().__init__()
        expect_rank(shape, rank)
        if rank != 2 and interpolation != "nearest":
            raise ConfigError(Problem("interpolation", f"expected 'nearest', got '{interpolation}'"))
        self.rank = rank
        self.factors = spread(size, rank, "size")
        self.resample = resample(interpolation)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, *enlarged spatial)."""
        expect_rank(shapes[0], self.rank)
        sizes = zip(shapes[0][1:], self.factors, strict=True)
        return (shapes[0][0], *(None if size is None else size * factor for size, factor in sizes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *enlarged spatial)."""
        return self.resample(x, tuple(size * factor for size, factor in zip(x.shape[2:], self.factors, strict=True)))


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


class Cropping(Layer):
    """The spatial axes with their ends cropped."""

    def __init__(self, rank: int, shape: Shape, *, cropping: PaddingOption = 1):
        super().__init__()
        expect_rank(shape, rank)
        self.rank = rank
        self.crops = pairs(cropping, rank, "cropping")

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, *cropped spatial)."""
        expect_rank(shapes[0], self.rank)
        pairs_of = zip(shapes[0][1:], self.crops, strict=True)
        sizes = tuple(None if size is None else size - sum(crops) for size, crops in pairs_of)
        if any(size is not None and size < 1 for size in sizes):
            message = f"nothing is left of an input of {format_shape(shapes[0][1:])}"
            raise ConfigError(Problem("cropping", message))
        return (shapes[0][0], *sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *cropped spatial)."""
        for dim, (before, after) in enumerate(self.crops, start=2):
            x = x.narrow(dim, before, x.shape[dim] - before - after)
        return x


def _product(shape: Shape) -> int | None:
    sizes = [size for size in shape if size is not None]
    return math.prod(sizes) if len(sizes) == len(shape) else None


LAYERS = {
    "Reshape": Reshape,
    "Flatten": Flatten,
    "Permute": Permute,
    "RepeatVector": RepeatVector,
    **{f"UpSampling{rank}D": functools.partial(UpSampling, rank) for rank in (1, 2, 3)},
    **{f"ZeroPadding{rank}D": functools.partial(ZeroPadding, rank) for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": functools.partial(Cropping, rank) for rank in (1, 2, 3)},
}
