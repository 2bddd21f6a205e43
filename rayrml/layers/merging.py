"""Layers that make one tensor of several."""

from __future__ import annotations

import functools

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.layers.layer import Layer, Shape, format_shape
from rayrml.layers.layout import held_axis


class _Elementwise(Layer):
    """What the element-wise merges share: broadcasting, where axes missing after the batch have the size 1."""

    def __init__(self, *shapes: Shape):
        super().__init__()
        if not shapes:
            raise ConfigError(Problem("", "expected at least one input"))

    def output_shape(self, *shapes: Shape) -> Shape:
        """The broadcast shape."""
        rank = max(map(len, shapes))
        wide = [(*shape[:1], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
        return tuple(_broadcast(sizes, shapes) for sizes in zip(*wide, strict=True))

    def _aligned(self, xs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        rank = max(x.ndim for x in xs)
        return [x if x.ndim == rank else x[(slice(None),) * 2 + (None,) * (rank - x.ndim)] for x in xs]


class Add(_Elementwise):
    """The sum of the inputs."""

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) each -> (N, C, *spatial)."""
        return functools.reduce(torch.add, self._aligned(xs))


class Concatenate(Layer):
    """The inputs one after the other along `axis`, by default the channels."""

    def __init__(self, *shapes: Shape, axis: int = -1):
        super().__init__()
        self.axis = axis
        self.dim = held_axis(axis, shapes[0])

    def output_shape(self, *shapes: Shape) -> Shape:
        """The inputs' shape, with the sum of their sizes along the axis."""
        i = self.dim - 1
        rest = {(*shape[:i], *shape[i + 1 :]) for shape in shapes}
        if len({len(shape) for shape in shapes}) > 1 or not _compatible(rest):
            found = " and ".join(map(format_shape, shapes))
            raise ConfigError(Problem("axis", f"inputs of {found} differ in more than the axis {self.axis}"))
        sizes = [shape[i] for shape in shapes]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        return (*shapes[0][:i], total, *shapes[0][i + 1 :])

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) each -> (N, C, *spatial)."""
        return torch.cat(xs, self.dim)


def _broadcast(sizes: tuple[int | None, ...], shapes: tuple[Shape, ...]) -> int | None:
    large = {size for size in sizes if size != 1}
    if len(large - {None}) > 1:
        raise ConfigError(Problem("", f"inputs of {' and '.join(map(format_shape, shapes))} do not fit together"))
    return next(iter(large - {None}), None) if large else 1


def _compatible(shapes: set[Shape]) -> bool:
    return all(len(set(sizes) - {None}) <= 1 for sizes in zip(*shapes, strict=True))


LAYERS = {"Add": Add, "Concatenate": Concatenate}
