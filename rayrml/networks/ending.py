"""How a network ends: whether its outputs are probabilities, their logarithms, or anything else."""

from __future__ import annotations

from typing import Any

from rayrml.config import tables
from rayrml.endings import Ending
from rayrml.networks.graph import INPUT, Graph
from rayrml.networks.layers import choose_layer
from rayrml.networks.layers.activations import ENDINGS, Function, find_activation, linear
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.operations import Operation


def find_ending(graph: Graph) -> Ending | None:
    """How the first output represents probabilities, according to the last layers; None if it does not.

    None covers logits and any other numbers: a network does not say what the output of a linear layer means.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    node = graph.nodes[graph.outputs[0]]
    while (layer := graph.layers[node.layer]).class_name != INPUT:
        row = choose_layer(layer.class_name, layer.config, graph.keras_version).row
        kind: Any = tables.unwrap(row.builder)  # a layer class
        last = _last_function(row)
        ending = kind.ending or (last.ending if isinstance(last, Layer) else ENDINGS.get(last))
        if ending is not None or last is not linear or not kind.keeps_numbers:
            return ending
        node = graph.nodes[node.inputs[0]]
    return None


def _last_function(row: tables.Choice) -> Function:
    """The activation of a layer or, for an operation, the function that its row is bound to."""
    builder: Any = row.builder
    if tables.unwrap(builder) is Operation:
        return builder.args[0]
    return find_activation(row.arguments.get("activation"))
