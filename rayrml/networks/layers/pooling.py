"""Pooling."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

from rayrml.networks.layers.activations import Function
from rayrml.networks.layers.layer import Layer, Shape, expect_rank
from rayrml.networks.layers.padding import PaddingOption, Pads, Sizes, pad, symmetric, window

_HALVING = 2  # the window of a pooling that halves its input, whatever the size
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _Pooling(Layer):
    """The base of both kinds of pooling: the window, and padding that never affects the result."""

    def __init__(
        self,
        rank: int,
        shape: Shape,
        *,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: PaddingOption = "valid",
    ):
        super().__init__()
        expect_rank(shape, rank)
        self.rank = rank
        steps = pool_size if strides is None else strides
        self.window = window(rank, pool_size, strides=steps, dilation=1, padding=padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, *spatial)."""
        expect_rank(shapes[0], self.rank)
        return (shapes[0][0], *self.window.output_sizes(shapes[0]))

    def expects_size(self, shape: Shape) -> bool:
        """Whether the window covers all of such an input, as in networks that mean a global pooling."""
        kernel, strides = self.window.kernel, self.window.strides
        steps_over = strides == kernel or max(strides) == 1
        return shape[1:] == kernel and max(kernel) > _HALVING and steps_over

    def _torch_can(self, pads: Pads) -> bool:
        """Whether torch can pad by `pads` itself, which it can up to half the window."""
        return symmetric(pads) and all(2 * p[0] <= k for p, k in zip(pads, self.window.kernel, strict=True))


class MaxPooling(_Pooling):
    """The maximum in each window; padding never wins.

    The layer may take over a nondecreasing activation: after the maximum, it costs a fraction of what it costs before.
    """

    activation: Function | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *spatial)."""
        pads = self.window.amounts(x.shape[2:])
        padding: tuple[int, ...] = (0,) * self.rank
        if self._torch_can(pads):
            padding = tuple(before for before, _ in pads)
        else:
            x = pad(x, pads, float("-inf"))
        y = _MAX_POOL[self.rank](x, self.window.kernel, self.window.strides, padding)
        return y if self.activation is None else self.activation(y)


class AveragePooling(_Pooling):
    """The mean in each window; cells padded by `same` are not counted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *spatial)."""
        pads = self.window.amounts(x.shape[2:])
        pool = functools.partial(_AVERAGE_POOL[self.rank], kernel_size=self.window.kernel, stride=self.window.strides)
        if self._torch_can(pads):
            return pool(x, padding=tuple(before for before, _ in pads), count_include_pad=False)
        share = pool(pad(torch.ones_like(x[:1, :1]), pads))
        return pool(pad(x, pads)) / share


class GlobalPooling(Layer):
    """The base of both kinds of global pooling: one number per channel, with axes of size 1 if `keepdims`."""

    def __init__(self, rank: int, shape: Shape, *, keepdims: bool = False):
        super().__init__()
        expect_rank(shape, rank)
        self.rank, self.keepdims = rank, keepdims
        self.dims = tuple(range(2, rank + 2))

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C,), or (C, 1, ...)."""
        expect_rank(shapes[0], self.rank)
        return (shapes[0][0], *((1,) * self.rank if self.keepdims else ()))


class GlobalAveragePooling(GlobalPooling):
    """The mean over all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C)."""
        return x.mean(self.dims, keepdim=self.keepdims)


class GlobalMaxPooling(GlobalPooling):
    """The maximum over all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C)."""
        return x.amax(self.dims, keepdim=self.keepdims)


LAYERS = {
    f"{name}{rank}D": functools.partial(kind, rank)
    for name, kind in {
        "MaxPooling": MaxPooling,
        "AveragePooling": AveragePooling,
        "GlobalMaxPooling": GlobalMaxPooling,
        "GlobalAveragePooling": GlobalAveragePooling,
    }.items()
    for rank in (1, 2, 3)
}
