"""Convolutions."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.activations import find_activation
from rayrml.networks.layers.layer import Positive, Shape, expect_channels, expect_rank, known
from rayrml.networks.layers.padding import PaddingOption, Sizes, Window, pad, spread, symmetric, window
from rayrml.networks.layers.weighted_sum import WeightedSum

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONVOLVE_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Windowed(WeightedSum):
    """The base of the convolutions: a window that slides over the input, and a fixed number of input channels."""

    def __init__(self, rank: int, shape: Shape, slide: Window):
        super().__init__()
        expect_rank(shape, rank)
        self.rank, self.window = rank, slide
        self.channels = known(shape[0])

    def _check(self, shape: Shape) -> None:
        expect_rank(shape, self.rank)
        expect_channels(shape, self.channels)

    def _slide(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int) -> torch.Tensor:
        """The convolution of `x`, padded according to the window."""
        slide = self.window
        pads = slide.amounts(x.shape[2:])
        if symmetric(pads):
            padding = tuple(before for before, _ in pads)
        else:
            x, padding = pad(x, pads), (0,) * self.rank
        return _CONVOLVE[self.rank](x, weight, bias, slide.strides, padding, slide.dilation, groups)


class Convolution(_Windowed):
    """Convolution with strides, dilation, groups and padding as in TensorFlow, then the activation."""

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
        super().__init__(
            rank, shape, window(rank, kernel_size, strides=strides, dilation=dilation_rate, padding=padding)
        )
        self.filters, self.groups = filters, groups
        if self.channels % groups or filters % groups:
            message = f"{groups} groups do not divide {self.channels} input channels and {filters} filters"
            raise ConfigError(Problem("groups", message))
        self.activation = find_activation(activation)
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
        return self.activate(self._slide(x, self.weight, self.bias, self.groups))


class DepthwiseConvolution(_Windowed):
    """Convolution of each channel on its own into `depth_multiplier` channels, then the activation."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        rank: int,
        shape: Shape,
        *,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: PaddingOption = "valid",
        depth_multiplier: Positive = 1,
        dilation_rate: Sizes = 1,
        groups: Literal[1] = 1,
        activation: Any = None,
        use_bias: bool = True,
    ):
        super().__init__(
            rank, shape, window(rank, kernel_size, strides=strides, dilation=dilation_rate, padding=padding)
        )
        self.filters = self.channels * depth_multiplier
        self.activation = find_activation(activation)
        _add_depthwise_kernel(self, "weight", depth_multiplier)
        self.add_weight("bias", "bias", (self.filters,), initializer="zeros", present=use_bias)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C * depth_multiplier, *spatial)."""
        self._check(shapes[0])
        return (self.filters, *self.window.output_sizes(shapes[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C * depth_multiplier, *spatial); those from the same channel are adjacent."""
        return self.activate(self._slide(x, self.weight, self.bias, self.channels))


class SeparableConvolution(_Windowed):
    """Depthwise convolution, then one of size 1 over the channels, bias and activation. Source: arXiv 1610.02357."""

    depthwise_weight: torch.Tensor
    pointwise_weight: torch.Tensor
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
        depth_multiplier: Positive = 1,
        groups: Literal[1] = 1,
        activation: Any = None,
        use_bias: bool = True,
    ):
        super().__init__(
            rank, shape, window(rank, kernel_size, strides=strides, dilation=dilation_rate, padding=padding)
        )
        self.filters = filters
        self.activation = find_activation(activation)
        _add_depthwise_kernel(self, "depthwise_weight", depth_multiplier)
        self.add_weight(
            "pointwise_weight",
            "pointwise_kernel",
            (*(1,) * rank, self.channels * depth_multiplier, filters),
            axes=(rank + 1, rank, *range(rank)),
            option="pointwise",
            initializer="glorot_uniform",
        )
        self.add_weight("bias", "bias", (filters,), initializer="zeros", present=use_bias)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(filters, *spatial)."""
        self._check(shapes[0])
        return (self.filters, *self.window.output_sizes(shapes[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, filters, *spatial)."""
        y = self._slide(x, self.depthwise_weight, None, self.channels)
        return self.activate(_CONVOLVE[self.rank](y, self.pointwise_weight, self.bias))


class TransposedConvolution(_Windowed):
    """The transpose of a convolution, which enlarges by the strides, then the activation. Source: arXiv 1603.07285."""

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
        padding: Literal["valid", "same"] = "valid",
        output_padding: Sizes | None = None,
        dilation_rate: Sizes = 1,
        groups: Literal[1] = 1,
        activation: Any = None,
        use_bias: bool = True,
    ):
        super().__init__(
            rank, shape, window(rank, kernel_size, strides=strides, dilation=dilation_rate, padding="valid")
        )
        self.filters = filters
        self.activation = find_activation(activation)
        extra = (None,) * rank if output_padding is None else spread(output_padding, rank, "output_padding", 0)
        if any(more is not None and more >= step for more, step in zip(extra, self.window.strides, strict=True)):
            message = f"expected less than the strides {list(self.window.strides)}, got {list(extra)}"
            raise ConfigError(Problem("output_padding", message))
        crop = functools.partial(_crop, padding == "same")
        self.crops = tuple(map(crop, self.window.extents, self.window.strides, extra))
        kernel = (*self.window.kernel, filters, self.channels)
        axes = (rank + 1, rank, *range(rank))
        self.add_weight("weight", "kernel", kernel, axes=axes, initializer="glorot_uniform")
        self.add_weight("bias", "bias", (filters,), initializer="zeros", present=use_bias)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(filters, *spatial)."""
        self._check(shapes[0])
        return (self.filters, *map(self._output_size, range(self.rank), shapes[0][1:]))

    def _output_size(self, i: int, size: int | None) -> int | None:
        if size is None:
            return None
        return (size - 1) * self.window.strides[i] + self.window.extents[i] - sum(self.crops[i])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, filters, *spatial)."""
        # torch crops both ends equally and can add only to the end; any excess at the end is cut off afterwards.
        starts = tuple(start for start, _ in self.crops)
        more = tuple(max(start - end, 0) for start, end in self.crops)
        slide = self.window
        convolve = _CONVOLVE_TRANSPOSED[self.rank]
        y = convolve(x, self.weight, self.bias, slide.strides, starts, more, 1, slide.dilation)
        for i, (start, end) in enumerate(self.crops):
            if end > start:
                y = y.narrow(i + 2, 0, y.shape[i + 2] - (end - start))
        return self.activate(y)


def _add_depthwise_kernel(layer: _Windowed, attribute: str, depth_multiplier: int) -> None:
    rank, kernel = layer.rank, layer.window.kernel
    layer.add_weight(
        attribute,
        "depthwise_kernel",
        (*kernel, layer.channels, depth_multiplier),
        axes=(rank, rank + 1, *range(rank)),
        held=(layer.channels * depth_multiplier, 1, *kernel),
        option="depthwise",
        initializer="glorot_uniform",
    )


def _crop(same: bool, extent: int, stride: int, output_padding: int | None) -> tuple[int, int]:
    """What TensorFlow crops from the start and end of the full transposed convolution; below 0, it appends zeros.

    The full one has (n - 1) * stride + extent cells for n input cells.
    """
    if output_padding is not None:
        total = (2 * (extent // 2) if same else 0) - output_padding
    else:
        total = extent - stride if same else min(extent - stride, 0)
    start = max(total, 0) // 2 if same else 0
    return start, total - start


_KINDS = {
    "Conv{}D": (Convolution, (1, 2, 3)),
    "DepthwiseConv{}D": (DepthwiseConvolution, (1, 2, 3)),
    "SeparableConv{}D": (SeparableConvolution, (1, 2)),
    "Conv{}DTranspose": (TransposedConvolution, (1, 2, 3)),
}

LAYERS = {name.format(rank): functools.partial(kind, rank) for name, (kind, ranks) in _KINDS.items() for rank in ranks}
