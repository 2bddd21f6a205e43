"""Regularization: noise in training, no effect in inference."""

from __future__ import annotations

import functools
import math

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Rate, Shape, expect_rank
from rayrml.networks.layers.regularizers import Penalty

NoiseShape = tuple[int | None, ...] | None

# What AlphaDropout substitutes for a dropped number: SELU's limit at minus infinity, -scale * alpha.
_SELU_LIMIT = -1.7580993408473766


class Dropout(Layer):
    """Each number is 0 with probability `rate`, else divided by 1 - rate; `noise_shape`'s axes of size 1 share a draw.

    Source: arXiv 1207.0580.
    """

    keeps_numbers = True

    def __init__(self, shape: Shape, *, rate: Rate, noise_shape: NoiseShape = None):
        super().__init__()
        self.rate = rate
        self.shared = _shared(noise_shape, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if not self.shared or not self.training:
            return F.dropout(x, self.rate, self.training)
        return x * F.dropout(torch.ones_like(_narrow(x, self.shared)), self.rate)


class SpatialDropout(Layer):
    """Like Dropout, for whole channels of a sample. Source: arXiv 1411.4280."""

    keeps_numbers = True

    def __init__(self, rank: int, shape: Shape, *, rate: Rate, noise_shape: None = None):
        super().__init__()
        expect_rank(shape, rank)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return torch.feature_dropout(x, self.rate, self.training)


class GaussianNoise(Layer):
    """The input plus normal noise with standard deviation `stddev`."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, stddev: float):
        super().__init__()
        self.stddev = stddev

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return x + self.stddev * torch.randn_like(x) if self.training else x


class GaussianDropout(Layer):
    """The input times normal noise with mean 1 and variance rate / (1 - rate). Source: Srivastava et al. 2014."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, rate: Rate):
        super().__init__()
        if rate == 1:
            raise ConfigError(Problem("rate", "expected less than 1"))
        self.stddev = math.sqrt(rate / (1 - rate))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return x * (1 + self.stddev * torch.randn_like(x)) if self.training else x


class AlphaDropout(Layer):
    """Dropout that preserves mean and variance, as SELU does. Source: arXiv 1706.02515."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, rate: Rate, noise_shape: NoiseShape = None):
        super().__init__()
        self.rate = rate
        self.shared = _shared(noise_shape, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if not self.training or not 0 < self.rate < 1:
            return x
        kept = torch.rand_like(_narrow(x, self.shared)) >= self.rate
        a = ((1 - self.rate) * (1 + self.rate * _SELU_LIMIT**2)) ** -0.5
        b = -a * _SELU_LIMIT * self.rate
        return a * torch.where(kept, x, _SELU_LIMIT) + b


class ActivityRegularization(Layer):
    """The input; training adds the mean over samples of l1 * sum(|x|) + l2 * sum(x^2) to the loss."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, l1: float = 0.0, l2: float = 0.0):
        super().__init__()
        if l1 or l2:
            self.penalize_activity(Penalty(l1, l2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), unchanged."""
        return x


def _shared(noise_shape: NoiseShape, shape: Shape) -> tuple[int, ...]:
    """The dimensions, including the batch, along which Keras's `noise_shape` shares one draw."""
    if noise_shape is None:
        return ()
    rank = len(shape) + 1
    if len(noise_shape) != rank:
        raise ConfigError(Problem("noise_shape", f"expected {rank} numbers or nulls, got {list(noise_shape)}"))
    held = (noise_shape[0], *noise_shape[-1:], *noise_shape[1:-1])
    if any(size not in (None, 1, full) for size, full in zip(held[1:], shape, strict=True)):
        raise ConfigError(Problem("noise_shape", f"expected null or 1 for each axis, got {list(noise_shape)}"))
    return tuple(dim for dim, size in enumerate(held) if size == 1)


def _narrow(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """A part of `x` with size 1 along `dims`."""
    for dim in dims:
        x = x.narrow(dim, 0, 1)
    return x


LAYERS = {
    "Dropout": Dropout,
    "SpatialDropout1D": functools.partial(SpatialDropout, 1),
    "SpatialDropout2D": functools.partial(SpatialDropout, 2),
    "SpatialDropout3D": functools.partial(SpatialDropout, 3),
    "GaussianNoise": GaussianNoise,
    "GaussianDropout": GaussianDropout,
    "AlphaDropout": AlphaDropout,
    "ActivityRegularization": ActivityRegularization,
}
