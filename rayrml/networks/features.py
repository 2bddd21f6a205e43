"""What a classifier knows of samples before it decides: the features that enter its last layer with weights."""

from __future__ import annotations

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.networks.network import Network
from rayrml.tensors import to_input


class Features:
    """Computes features and outputs of samples, in evaluation mode.

    Args:
        network: a classifier with its weights; of several outputs the first one counts.
        where: JSON path of what names it, for messages.

    Attributes:
        layer: name of the last layer with weights.

    Raises:
        ConfigError: no layer has weights.
    """

    def __init__(self, network: Network, where: str = "neural_network.metric_network"):
        self.network = network.eval()
        layer = _find_last_with_weights(network)
        if layer is None:
            raise ConfigError(Problem(where, "no layer of this network has weights. Expected a trained classifier"))
        self.layer = layer

    @torch.inference_mode()
    def __call__(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, F) and outputs (N, C, *spatial), in float32 at least.

        Features with positions, which a convolution as the last layer has, are means over the positions.

        Args:
            samples: (N, C, *spatial) as the network takes them.
        """
        seen: list[torch.Tensor] = []

        def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.append(inputs[0])

        # Before hooks that change the layout: the axis after the batch is that of the channels.
        handle = self.network.layers()[self.layer].register_forward_pre_hook(keep, prepend=True)
        try:
            output = self.network(to_input(samples))
        finally:
            handle.remove()
        output = output[0] if isinstance(output, tuple) else output
        features = seen[-1].float() if seen[-1].dtype != torch.float64 else seen[-1]
        return features.flatten(2).mean(2) if features.ndim > 2 else features, output


def _find_last_with_weights(network: Network) -> str | None:
    """The name of the last layer with weights on the way to the first output."""
    graph, layers = network.graph, network.layers()
    used = {graph.outputs[0]}
    for number in range(graph.outputs[0], -1, -1):
        if number not in used:
            continue
        node = graph.nodes[number]
        name = graph.layers[node.layer].name
        if name in layers and layers[name].weights:
            return name
        used.update(node.inputs)
    return None
