"""Which layers of a network have their weights gathered alone, where workers divide all weights among themselves."""

from __future__ import annotations

from collections import Counter

from rayrml.networks.layers.layer import Layer
from rayrml.networks.network import Network

LARGE = 2**16  # numbers of weights: gathering fewer takes as long as that


def list_large_layers(network: Network, least: int = LARGE) -> list[Layer]:
    """The layers of at least `least` weights; each has its weights only while it computes.

    A layer that is called several times is left out: its weights are needed from the first call to the last one.
    """
    graph = network.graph
    calls = Counter(graph.layers[node.layer].name for node in graph.nodes)
    return [layer for name, layer in network.layers().items() if count(layer) >= least and calls[name] == 1]


def count_gathered(network: Network) -> int:
    """The most weights that a worker has whole at a time during a training step."""
    large = [count(layer) for layer in list_large_layers(network)]
    # Those of one layer are gathered while the one before computes.
    return sum(p.numel() for p in network.parameters()) - sum(large) + sum(sorted(large)[-2:])


def count(layer: Layer) -> int:
    """The number of weights of a layer, without running statistics."""
    return sum(parameter.numel() for parameter in layer.parameters())
