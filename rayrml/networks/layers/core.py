"""Core layers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from rayrml.networks.layers.activations import Activation, find_activation
from rayrml.networks.layers.layer import Positive, Shape, expect_channels, known
from rayrml.networks.layers.weighted_sum import WeightedSum


class Dense(WeightedSum):
    """activation(x @ kernel + bias) over the channels, at every position."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, shape: Shape, *, units: Positive, activation: Any = None, use_bias: bool = True):
        super().__init__()
        self.channels = known(shape[0])
        self.units = units
        self.activation = find_activation(activation)
        kernel = (self.channels, units)
        self.add_weight("weight", "kernel", kernel, axes=(1, 0), initializer="glorot_uniform")
        self.add_weight("bias", "bias", (units,), initializer="zeros", present=use_bias)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(units, *spatial)."""
        expect_channels(shapes[0], self.channels)
        return (self.units, *shapes[0][1:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, units, *spatial)."""
        if x.ndim == 2:
            return self.activate(F.linear(x, self.weight, self.bias))
        y = F.conv1d(x.flatten(2), self.weight.unsqueeze(-1), self.bias)
        return self.activate(y.unflatten(2, x.shape[2:]))


LAYERS = {"Dense": Dense, "Activation": Activation}
