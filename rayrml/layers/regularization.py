"""Layers that add noise in training and do nothing in inference."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

from rayrml.layers.layer import Fraction, Layer, Shape, expect_rank


class Dropout(Layer):
    """Each number is 0 with probability `rate` and else divided by 1 - rate. Source: arXiv 1207.0580."""

    def __init__(self, shape: Shape, *, rate: Fraction, noise_shape: None = None):
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return F.dropout(x, self.rate, self.training)


class SpatialDropout(Layer):
    """As Dropout, for whole channels of a sample. Source: arXiv 1411.4280."""

    def __init__(self, rank: int, shape: Shape, *, rate: Fraction, noise_shape: None = None):
        super().__init__()
        expect_rank(shape, rank)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return torch.feature_dropout(x, self.rate, self.training)


LAYERS = {
    "Dropout": Dropout,
    "SpatialDropout1D": functools.partial(SpatialDropout, 1),
    "SpatialDropout2D": functools.partial(SpatialDropout, 2),
    "SpatialDropout3D": functools.partial(SpatialDropout, 3),
}
