"""Convolutions on one, two and three spatial axes."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.layers.activations import activation as activation_function
from rayrml.layers.layer import Layer, Positive, Shape, expect_rank, known
from rayrml.layers.padding import PaddingOption, Sizes, Window, pad, symmetric, window

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Windowed(Layer):
    """What the convolutions share: a window that slides over the input and a fixed number of input channels."""

    window: Window
    channels: int
    rank: int

    def _check(self, shape: Shape) -> None:
        expect_rank(shape, self.rank)
        if shape[0] != self.channels:
            raise ConfigError(Problem("", f"expected {self.channels} input channels, got {shape[0]}"))

    def _pad(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
        """`x` with the padding that torch cannot do, and the padding that is left to torch."""
        pads = self.window.amounts(x.shape[2:])
        if symmetric(pads):
            return x, tuple(before for before, _ in pads)
        return pad(x, pads), (0,) * self.rank


class Convolution(_Windowed):
    """activation(kernel * x + bias), with padding as TensorFlow does it, strides, dilation and groups."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        rank: int,
        shape: Shape,
        *,
        filters: Positive,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: PaddingOption = "valid",
        dilation_rate: Sizes = 1,
        groups: Positive = 1,
        activation: Any = None,
        use_bias: bool = True,
    ):
        super().__init__()
        expect_rank(shape, rank)
        self.rank, self.filters, self.groups = rank, filters, groups
        self.channels = known(shape[0], "filters")
        if self.channels % groups or filters % groups:
            message = f"{groups} groups do not divide {self.channels} input channels and {filters} filters"
            raise ConfigError(Problem("groups", message))
        self.window = window(rank, kernel_size, strides, dilation_rate, padding)
        self.activation = activation_function(activation)
        kernel = (*self.window.kernel, self.channels // groups, filters)
        axes = (rank + 1, rank, *range(rank))
        self.add_weight("weight", "kernel", kernel, axes=axes, initializer="glorot_uniform")
        self.add_weight("bias", "bias", (filters,), initializer="zeros", present=use_bias)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(filters, *spatial)."""
        self._check(shapes[0])
        return (self.filters, *self.window.output_sizes(shapes[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, filters, *spatial)."""
        x, padding = self._pad(x)
        slide = self.window
        y = _CONVOLVE[self.rank](x, self.weight, self.bias, slide.strides, padding, slide.dilation, self.groups)
        return self.activation(y)


LAYERS = {
    "Conv1D": functools.partial(Convolution, 1),
    "Conv2D": functools.partial(Convolution, 2),
    "Conv3D": functools.partial(Convolution, 3),
}
