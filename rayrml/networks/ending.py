"""How a network ends: whether its outputs are probabilities, their logarithms, or anything else."""

from __future__ import annotations

from typing import Any, Literal

from rayrml.config import tables
from rayrml.endings import Ending
from rayrml.networks.graph import INPUT, Graph
from rayrml.networks.layers import choose_layer
from rayrml.networks.layers.activations import ENDINGS, Function, find_activation, linear
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.operations import Operation

KnownEnding = Ending | Literal["linear"]


def find_ending(graph: Graph) -> KnownEnding | None:
    """How the first output represents probabilities, according to the last layers; None if that is unknown.

    `linear` is a layer of weights without an activation, such as one that gives logits, or values of any kind.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    node = graph.nodes[graph.outputs[0]]
    while (layer := graph.layers[node.layer]).class_name != INPUT:
        row = choose_layer(layer.class_name, layer.config, graph.keras_version).row
        kind: Any = tables.unwrap(row.builder)  # a layer class
        last = _last_function(row)
        ending = kind.ending or (last.ending if isinstance(last, Layer) else ENDINGS.get(last))
        if ending is not None:
            return ending
        if last is not linear or not kind.keeps_numbers:
            return "linear" if last is linear and kind.is_weighted_sum else None
        node = graph.nodes[node.inputs[0]]
    return None


def _last_function(row: tables.Choice) -> Function:
    """The activation of a layer or, for an operation, the function that its row is bound to."""
    builder: Any = row.builder
    if tables.unwrap(builder) is Operation:
        return builder.args[0]
    return find_activation(row.arguments.get("activation"))
