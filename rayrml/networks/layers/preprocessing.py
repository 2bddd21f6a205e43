"""Preprocessing: fixed transforms of the input, and random ones only in training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Positive, Shape, expect_channels, expect_rank, known
from rayrml.networks.layers.layout import held_axis, held_order
from rayrml.networks.layers.resampling import resample

Numbers = float | tuple[float, ...]
Range = float | tuple[float, float]
Fill = Literal["reflect", "constant", "nearest"]
Interpolation = Literal["bilinear", "nearest"]

_GRID_PADDING = {"reflect": "reflection", "constant": "zeros", "nearest": "border"}


class Rescaling(Layer):
    """The input times `scale`, plus `offset`: each one number, or one per channel."""

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(self, shape: Shape, *, scale: Numbers, offset: Numbers = 0.0):
        super().__init__()
        for name, value in (("scale", scale), ("offset", offset)):
            self.register_buffer(name, _by_channel(value, shape, name), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return x * self.scale + self.offset


class Normalization(Layer):
    """(x - mean) / sqrt(variance), with given or learnt statistics; the reverse with `invert`."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        axis: int | tuple[int, ...] | None = -1,
        mean: Numbers | None = None,
        variance: Numbers | None = None,
        invert: bool = False,
    ):
        super().__init__()
        if (mean is None) != (variance is None):
            raise ConfigError(Problem("mean", "expected both 'mean' and 'variance', or neither"))
        self.invert = invert
        self.dims: tuple[int, ...] = ()
        self.sizes: tuple[int, ...] = ()
        if mean is not None and variance is not None:
            self.register_buffer("running_mean", _by_channel(mean, shape, "mean"), persistent=False)
            self.register_buffer("running_var", _by_channel(variance, shape, "variance"), persistent=False)
            return
        axes = () if axis is None else (axis,) if isinstance(axis, int) else axis
        self.dims = tuple(sorted(held_axis(a, shape) for a in axes))
        held = tuple(known(size) if dim in self.dims else 1 for dim, size in enumerate(shape, start=1))
        self.sizes = tuple(known(shape[dim - 1]) for dim in self.dims)
        order = held_order(self.dims) if self.dims else ()
        keras = tuple(self.sizes[order.index(i)] for i in range(len(order)))
        for attribute, name, start in (("running_mean", "mean", "zeros"), ("running_var", "variance", "ones")):
            self.add_weight(attribute, name, keras, axes=order, held=held, initializer=start, trainable=False)
        self.add_weight("num_samples", "count", (), initializer="zeros", trainable=False)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        for dim, size in zip(self.dims, self.sizes, strict=True):
            expect_channels(shapes[0][dim - 1 :], size)
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        deviation = self.running_var.sqrt().clamp(min=1e-7)
        return x * deviation + self.running_mean if self.invert else (x - self.running_mean) / deviation


class Resizing(Layer):
    """Images resized to `height` x `width`."""

    def __init__(
        self,
        shape: Shape,
        *,
        height: Positive,
        width: Positive,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: Literal[False] = False,
        pad_to_aspect_ratio: Literal[False] = False,
        fill_mode: Literal["constant"] = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
    ):
        super().__init__()
        expect_rank(shape, 2)
        if antialias and interpolation != "bilinear":
            raise ConfigError(Problem("antialias", "expected false, except with bilinear interpolation"))
        self.sizes, self.antialias = (height, width), antialias
        self.resample = resample(interpolation)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C, height, width)."""
        return (shapes[0][0], *self.sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        if self.antialias:
            return F.interpolate(x, self.sizes, mode="bilinear", antialias=True)
        return self.resample(x, self.sizes)


class RandomFlip(Layer):
    """Images flipped left to right, upside down, or both, each with probability 1/2."""

    def __init__(
        self,
        shape: Shape,
        *,
        mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical",
    ):
        super().__init__()
        expect_rank(shape, 2)
        self.dims = tuple(dim for dim, name in ((3, "horizontal"), (2, "vertical")) if name in mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        if self.training:
            for dim in self.dims:
                flipped = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < 0.5
                x = torch.where(flipped, x.flip(dim), x)
        return x


class _RandomAffine(Layer):
    """The base of random rotations and zooms: a linear map of the positions about the centre, one per sample."""

    def __init__(self, shape: Shape, fill_mode: Fill, interpolation: Interpolation, fill_value: float):
        super().__init__()
        expect_rank(shape, 2)
        self.padding, self.interpolation, self.fill_value = _GRID_PADDING[fill_mode], interpolation, fill_value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        if not self.training:
            return x
        # torch's positions range from -1 to 1 on each axis; Keras rotates and zooms in pixels.
        aspect = x.shape[2] / x.shape[3]
        xx, xy, yx, yy = self.draw(x).flatten(1).unbind(1)
        matrix = F.pad(torch.stack([xx, xy * aspect, yx / aspect, yy], 1).view(-1, 2, 2), (0, 1))
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        y = F.grid_sample(x - self.fill_value, grid, self.interpolation, self.padding, align_corners=False)
        return y + self.fill_value

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """The maps (N, 2, 2) from positions (x, y) of the output to positions of the input."""
        raise NotImplementedError


class RandomRotation(_RandomAffine):
    """Images rotated about their centre by a fraction of a full turn, drawn from `factor`, or from +-`factor`."""

    def __init__(
        self,
        shape: Shape,
        *,
        factor: Range,
        fill_mode: Fill = "reflect",
        interpolation: Interpolation = "bilinear",
        fill_value: float = 0.0,
    ):
        super().__init__(shape, fill_mode, interpolation, fill_value)
        self.low, self.high = _range(factor)

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Rotations (N, 2, 2)."""
        turn = 2 * math.pi * torch.empty(x.shape[0], device=x.device, dtype=x.dtype).uniform_(self.low, self.high)
        cosine, sine = turn.cos(), turn.sin()
        return torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)


class RandomZoom(_RandomAffine):
    """Images zoomed about their centre: out by a positive fraction drawn from `height_factor`, in by a negative one."""

    def __init__(
        self,
        shape: Shape,
        *,
        height_factor: Range,
        width_factor: Range | None = None,
        fill_mode: Fill = "reflect",
        interpolation: Interpolation = "bilinear",
        fill_value: float = 0.0,
    ):
        super().__init__(shape, fill_mode, interpolation, fill_value)
        self.height = _range(height_factor)
        self.width = None if width_factor is None else _range(width_factor)

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Zooms (N, 2, 2)."""
        scale = torch.empty(x.shape[0], device=x.device, dtype=x.dtype)
        height = 1 + scale.uniform_(*self.height)
        width = height if self.width is None else 1 + torch.empty_like(scale).uniform_(*self.width)
        return torch.diag_embed(torch.stack([width, height], 1))


def _by_channel(value: Numbers, shape: Shape, key: str) -> torch.Tensor:
    """`value` as a tensor that broadcasts over the input: one number, or one per channel."""
    if isinstance(value, float | int):
        return torch.tensor(float(value))
    if len(value) not in (1, shape[0]):
        raise ConfigError(Problem(key, f"expected a number, or one for each of {shape[0]} channels, got {list(value)}"))
    return torch.tensor(value).view(-1, *(1,) * (len(shape) - 1))


def _range(factor: Range) -> tuple[float, float]:
    return (-abs(factor), abs(factor)) if isinstance(factor, float | int) else (factor[0], factor[1])


LAYERS = {
    "Rescaling": Rescaling,
    "Normalization": Normalization,
    "Resizing": Resizing,
    "RandomFlip": RandomFlip,
    "RandomRotation": RandomRotation,
    "RandomZoom": RandomZoom,
}
