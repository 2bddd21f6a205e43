"""Residual branches: what becomes of a branch before it is added, as ConvNeXt in `keras.applications` has it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Positive, Rate, Shape


class LayerScale(Layer):
    """The channels times weights that begin with `init_values`. Source: arXiv 2103.17239."""

    weight: torch.Tensor

    def __init__(self, shape: Shape, *, init_values: float, projection_dim: Positive):
        super().__init__()
        self.channels = projection_dim
        self.output_shape(shape)
        start = {"class_name": "Constant", "config": {"value": init_values}}
        self.add_weight("weight", "gamma", (projection_dim,), initializer=start)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's shape."""
        if shapes[0][0] not in (None, self.channels):
            message = f"expected {shapes[0][0]}, the number of channels, got {self.channels}"
            raise ConfigError(Problem("projection_dim", message))
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return x * self.weight.view(1, -1, *(1,) * (x.ndim - 2))


class StochasticDepth(Layer):
    """A share `drop_path_rate` of the samples is 0, others are divided by the rest. Source: arXiv 1603.09382."""

    keeps_numbers = True

    def __init__(self, shape: Shape, *, drop_path_rate: Rate):
        super().__init__()
        self.rate = drop_path_rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if not self.training:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], *(1,) * (x.ndim - 1)), self.rate)


LAYERS = {"LayerScale": LayerScale, "StochasticDepth": StochasticDepth}
