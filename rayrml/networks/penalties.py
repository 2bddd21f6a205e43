"""What the regularizers of a network add to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.regularizers import Penalty


class Penalties:
    """The regularizers of a network's weights, and of what its layers return.

    Args:
        layers: by name.
        names: the name of each layer's module.

    Attributes:
        of_outputs: the names of the modules whose outputs are regularized.
    """

    def __init__(self, layers: Mapping[str, Layer], names: Mapping[str, str]):
        self.of_outputs = [names[name] for name, layer in layers.items() if layer.activity is not None]
        self._of_weights = [
            (names[name], attribute, penalty)
            for name, layer in layers.items()
            for attribute, penalty in layer.penalties.items()
        ]

    def take(self, modules: Mapping[str, Any], *, of_weights: bool = True) -> torch.Tensor | None:
        """The sum for all trainable weights and the outputs since the last call, a scalar; None if there is nothing.

        Without those `of_weights`, it is the sum for the outputs.
        """
        if not (self._of_weights or self.of_outputs):
            return None
        terms = [penalty(weight) for weight, penalty in self.list_weights(modules)] if of_weights else []
        terms += [activity for name in self.of_outputs for activity in modules[name].activities]
        self.forget(modules)
        return torch.stack(terms).sum() if terms else None

    def list_weights(self, modules: Mapping[str, Any]) -> list[tuple[torch.nn.Parameter, Penalty]]:
        """The trainable weights that are regularized, and the penalty of each."""
        weights = [(getattr(modules[name], attribute), penalty) for name, attribute, penalty in self._of_weights]
        return [(weight, penalty) for weight, penalty in weights if weight.requires_grad]

    def forget(self, modules: Mapping[str, Any]) -> None:
        """Forget the outputs since the last call, such as those of a batch that was not trained on."""
        for name in self.of_outputs:
            modules[name].activities.clear()
