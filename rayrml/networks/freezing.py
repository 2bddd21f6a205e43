"""Layers that are frozen for the first epochs of a training."""

from __future__ import annotations

from collections.abc import Iterable

from rayrml.networks.layers.wrappers import unwrapped
from rayrml.networks.network import Network


def freeze(network: Network, names: Iterable[str]) -> None:
    """Exclude all weights of the layers from training, as `"trainable": false` in the JSON does."""
    layers = network.layers()
    for name in names:
        layers[name].freeze()


def unfreeze(network: Network, names: Iterable[str]) -> None:
    """Train all weights of the layers, in the mode that their calls ask for or else the network's own."""
    layers, graph = network.layers(), network.graph
    for name in names:
        layer = layers[name]
        layer.requires_grad_(True)
        modes = {node.training for node in graph.nodes if graph.layers[node.layer].name == name}
        # They agree: a network whose calls do not is refused when it is built.
        layer.mode = unwrapped(layer).mode = next(iter(modes), None)
        layer.train(network.training)
