"""How a network ends: what its outputs represent, and which of its calls follow the last weighted sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rayrml.config import tables
from rayrml.endings import SYMMETRIC, UNIT, Ending, Range
from rayrml.networks.graph import INPUT, Graph, LayerSpec
from rayrml.networks.layers import choose_layer
from rayrml.networks.layers.activations import (
    ENDINGS,
    FUNCTIONS,
    LAYERS,
    Function,
    exponential,
    find_activation,
    linear,
)
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.operations import Operation
from rayrml.networks.layers.weighted_sum import WeightedSum
from rayrml.networks.layers.wrappers import INNER, unwrapped

KnownEnding = Ending | Literal["linear"]


def find_ending(graph: Graph) -> KnownEnding | None:
    """How the first output represents probabilities, according to the last layers; None if that is unknown.

    `linear` is a layer of weights without an activation, such as one that gives logits, or values of any kind.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    node = graph.nodes[graph.outputs[0]]
    while (layer := graph.layers[node.layer]).class_name != INPUT:
        row = _innermost(choose_layer(layer.class_name, layer.config, graph.keras_version).row)
        kind: Any = tables.unwrap(row.builder)  # a layer class
        last = _last_function(row)
        ending = kind.ending or (last.ending if isinstance(last, Layer) else ENDINGS.get(last))
        if ending is not None:
            return ending
        if last is not linear or not kind.keeps_numbers:
            return "linear" if last is linear and issubclass(kind, WeightedSum) else None
        node = graph.nodes[node.inputs[0]]
    return None


def find_activations_at_end(graph: Graph) -> list[tuple[LayerSpec, str]]:
    """The layers whose activation is the last on the way to an output, each with its name; none if that is linear.

    Layers behind them only move numbers: they reshape them, or put those of several layers side by side.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    found: dict[str, tuple[LayerSpec, str]] = {}
    numbers = list(dict.fromkeys(graph.outputs))
    for number in numbers:  # which get more on the way
        node = graph.nodes[number]
        layer = graph.layers[node.layer]
        if layer.class_name == INPUT:
            continue
        row = _innermost(choose_layer(layer.class_name, layer.config, graph.keras_version).row)
        kind: Any = tables.unwrap(row.builder)  # a layer class
        name = layer.class_name if layer.class_name in LAYERS else _name_of(_last_function(row))
        if name is not None:
            found[layer.name] = layer, name
        elif kind.keeps_numbers or layer.class_name == "Concatenate":
            numbers += [source for source in node.inputs if source not in numbers]
    return list(found.values())


def _name_of(function: Function) -> str | None:
    """The name of an activation; None if it is linear, or no activation."""
    if function is linear:
        return None
    if isinstance(function, Layer):
        return type(function).__name__
    return next((name for name, own in FUNCTIONS.items() if own is function), None)


def find_calls_at_end(graph: Graph, modules: Mapping[str, Layer]) -> set[int]:
    """The nodes that neither are weighted sums nor are used by any, directly or through other nodes.

    `modules` are the layers by name. A last softmax is such a node, and so is a pooling before it.
    """
    return {n for n in _last_calls(graph, modules) if not isinstance(_module(graph, n, modules), WeightedSum)}


def mark_last_sums(graph: Graph, modules: Mapping[str, Layer]) -> None:
    """Tell the layers of weighted sums which of them are the last on the way to an output."""
    for n in _last_calls(graph, modules):
        layer = _module(graph, n, modules)
        if isinstance(layer, WeightedSum):
            layer.is_last = True


def _last_calls(graph: Graph, modules: Mapping[str, Layer]) -> set[int]:
    """The nodes that no weighted sum uses, directly or through other nodes."""
    used: set[int] = set()
    for n, node in reversed(list(enumerate(graph.nodes))):
        if n in used or isinstance(_module(graph, n, modules), WeightedSum):
            used.update(node.inputs)
    return set(range(len(graph.nodes))) - used


def _module(graph: Graph, n: int, modules: Mapping[str, Layer]) -> Layer | None:
    """The layer of a node, None for an input."""
    layer = modules.get(graph.layers[graph.nodes[n].layer].name)
    return None if layer is None else unwrapped(layer)


def find_other_activation(graph: Graph) -> str | None:
    """The activation behind the first output if `find_ending` does not know it, such as `relu`; None without one.

    What comes before an exponential decides what that gives, so it is left out.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    node = graph.nodes[graph.outputs[0]]
    while (layer := graph.layers[node.layer]).class_name != INPUT:
        if layer.class_name in LAYERS:
            return layer.class_name
        row = _innermost(choose_layer(layer.class_name, layer.config, graph.keras_version).row)
        kind: Any = tables.unwrap(row.builder)  # a layer class
        last = _last_function(row)
        if isinstance(last, Layer):
            return type(last).__name__
        if last is not linear:
            return next((name for name, own in FUNCTIONS.items() if own is last and last is not exponential), None)
        if not kind.keeps_numbers:
            return None
        node = graph.nodes[node.inputs[0]]
    return None


def find_range(graph: Graph) -> Range | None:
    """The range of the first output according to the last layers, if they are a sigmoid or tanh; None if unknown.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    ending = find_ending(graph)
    if ending is not None:
        return UNIT if ending == "sigmoid" else None
    return SYMMETRIC if find_other_activation(graph) in ("tanh", "Tanh") else None


def _innermost(row: tables.Choice) -> tables.Choice:
    """The row of the layer that others are around."""
    inner = row.arguments.get(INNER)
    return row if inner is None else _innermost(inner.row)


def _last_function(row: tables.Choice) -> Function:
    """The activation of a layer or, for an operation, the function that its row is bound to."""
    builder: Any = row.builder
    if tables.unwrap(builder) is Operation:
        return builder.args[0]
    return find_activation(row.arguments.get("activation"))
