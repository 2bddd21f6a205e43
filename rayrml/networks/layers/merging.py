"""Merging: several tensors into one."""

from __future__ import annotations

import functools

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Shape, format_shape
from rayrml.networks.layers.layout import held_axis, held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.normalization import unit


class Elementwise(Layer):
    """The base of the element-wise merges: broadcasting, with size 1 for axes missing after the batch."""

    def __init__(self, *shapes: Shape):
        super().__init__()
        self.aligned = len({len(shape) for shape in shapes}) == 1

    def output_shape(self, *shapes: Shape) -> Shape:
        """The broadcast shape."""
        rank = max(map(len, shapes))
        wide = [(*shape[:1], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
        return tuple(_broadcast(sizes, shapes) for sizes in zip(*wide, strict=True))

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) each -> (N, C, *spatial)."""
        if not self.aligned:
            rank = max(x.ndim for x in xs)
            xs = tuple(x[(slice(None),) * 2 + (None,) * (rank - x.ndim)] for x in xs)
        return self.merge(xs)

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The result for tensors of the same rank."""
        raise NotImplementedError


class Add(Elementwise):
    """The sum of the inputs."""

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The sum."""
        return functools.reduce(torch.add, xs)


class Subtract(Elementwise):
    """The first input minus the second."""

    def __init__(self, *shapes: Shape):
        super().__init__(*shapes)
        _expect_two(shapes)

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The difference."""
        return xs[0] - xs[1]


class Multiply(Elementwise):
    """The product of the inputs."""

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The product."""
        return functools.reduce(torch.mul, xs)


class Average(Elementwise):
    """The mean of the inputs."""

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The mean."""
        return functools.reduce(torch.add, xs) / len(xs)


class Maximum(Elementwise):
    """The element-wise maximum of the inputs."""

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The maximum."""
        return functools.reduce(torch.maximum, xs)


class Minimum(Elementwise):
    """The element-wise minimum of the inputs."""

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The minimum."""
        return functools.reduce(torch.minimum, xs)


class Concatenate(Layer):
    """The inputs concatenated along `axis`, by default the channels."""

    def __init__(self, *shapes: Shape, axis: int = -1):
        super().__init__()
        self.axis = axis
        self.dim = held_axis(axis, shapes[0])

    def output_shape(self, *shapes: Shape) -> Shape:
        """The inputs' shape, with their sizes along the axis added up."""
        i = self.dim - 1
        rests = [(*shape[:i], *shape[i + 1 :]) for shape in shapes]
        if len(set(map(len, shapes))) > 1 or any(len(set(sizes) - {None}) > 1 for sizes in zip(*rests, strict=True)):
            found = " and ".join(map(format_shape, shapes))
            raise ConfigError(Problem("axis", f"inputs of shapes {found} differ in more than axis {self.axis}"))
        sizes = [shape[i] for shape in shapes if shape[i] is not None]
        total = sum(size or 0 for size in sizes) if len(sizes) == len(shapes) else None
        return (*shapes[0][:i], total, *shapes[0][i + 1 :])

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) each -> (N, C, *spatial)."""
        return torch.cat(xs, self.dim)


class Dot(Layer):
    """The dot product of two inputs over one axis of each; of unit vectors with `normalize`."""

    def __init__(self, *shapes: Shape, axes: int | tuple[int, int], normalize: bool = False):
        super().__init__()
        _expect_two(shapes)
        pair = (axes, axes) if isinstance(axes, int) else axes
        self.axes = tuple(_positive(axis, shape) for axis, shape in zip(pair, shapes, strict=True))
        self.normalize = normalize

    def output_shape(self, *shapes: Shape) -> Shape:
        """The sizes of the first input's other axes, then of the second's; (1,) if there are none."""
        first, second = (keras_shape(shape)[axis - 1] for shape, axis in zip(shapes, self.axes, strict=True))
        if first != second and None not in (first, second):
            raise ConfigError(Problem("axes", f"the sizes of the summed axes differ: {first} and {second}"))
        rests = [_without(keras_shape(shape), axis - 1) for shape, axis in zip(shapes, self.axes, strict=True)]
        return held_shape((*rests[0], *rests[1]) or (1,))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) each -> (N, C, *spatial)."""
        x, y = (to_keras(z) if z.ndim > 2 else z for z in (x, y))
        if self.normalize:
            x, y = unit(x, self.axes[:1]), unit(y, self.axes[1:])
        x, y = x.movedim(self.axes[0], -1), y.movedim(self.axes[1], -1)
        sizes = (*x.shape[1:-1], *y.shape[1:-1])
        z = torch.bmm(x.reshape(x.shape[0], -1, x.shape[-1]), y.reshape(y.shape[0], -1, y.shape[-1]).mT)
        return to_held(z.reshape(x.shape[0], *(sizes or (1,))))


def _expect_two(shapes: tuple[Shape, ...]) -> None:
    if len(shapes) != 2:
        raise ConfigError(Problem("", f"expected two inputs, got {len(shapes)}"))


def _positive(axis: int, shape: Shape) -> int:
    held_axis(axis, shape, "axes")
    return axis + len(shape) + 1 if axis < 0 else axis


def _without(sizes: Shape, i: int) -> Shape:
    return (*sizes[:i], *sizes[i + 1 :])


def _broadcast(sizes: tuple[int | None, ...], shapes: tuple[Shape, ...]) -> int | None:
    large = {size for size in sizes if size != 1}
    if len(large - {None}) > 1:
        raise ConfigError(Problem("", f"shapes {' and '.join(map(format_shape, shapes))} cannot be broadcast"))
    return next(iter(large - {None}), None) if large else 1


LAYERS = {
    "Add": Add,
    "Subtract": Subtract,
    "Multiply": Multiply,
    "Average": Average,
    "Maximum": Maximum,
    "Minimum": Minimum,
    "Concatenate": Concatenate,
    "Dot": Dot,
}
