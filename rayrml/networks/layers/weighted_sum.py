"""The base of layers that multiply by weights: sums that may be computed in 16 bits, and an activation that may not."""

from __future__ import annotations

import torch

from rayrml.networks.layers.activations import Function
from rayrml.networks.layers.layer import Layer
from rayrml.tensors import to_float32


class WeightedSum(Layer):
    """A layer whose outputs are an activation of weighted sums of its inputs.

    Attributes:
        activation: what the layer makes of the sums.
        is_last: whether no other weighted sums follow on the way to an output of the network. Its activation is then
            computed in float32: in 16 bits a sigmoid's output near 1 would be 1, and its loss and gradient wrong.
    """

    activation: Function
    is_last: bool = False

    def activate(self, sums: torch.Tensor) -> torch.Tensor:
        """The activation of the layer's weighted sums."""
        return self.activation(to_float32(sums) if self.is_last else sums)
