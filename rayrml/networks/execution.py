"""How a network runs: its calls in order, the names of its modules in torch, and what is moved to make it faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

import torch

from rayrml.networks.graph import INPUT, Graph
from rayrml.networks.layers.activations import linear, relu
from rayrml.networks.layers.convolution import Convolution
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.pooling import MaxPooling


class Step(NamedTuple):
    """One call: `module` on the tensors in the slots `inputs`; the slots in `free` are not needed afterwards.

    `full` asks for inputs in float32, also where autocast made them shorter.
    """

    module: str
    inputs: tuple[int, ...]
    output: int
    free: tuple[int, ...]
    full: bool


def list_steps(graph: Graph, names: Mapping[str, str], at_end: Set[int]) -> tuple[Step, ...]:
    """The calls, each with the slots to free after it, so that no tensor outlives its last use."""
    last = {i: n for n, node in enumerate(graph.nodes) for i in node.inputs}
    dead: dict[int, list[int]] = {}
    for slot, n in last.items():
        if slot not in graph.outputs:
            dead.setdefault(n, []).append(slot)
    return tuple(
        Step(names[graph.layers[node.layer].name], node.inputs, n, tuple(dead.get(n, ())), n in at_end)
        for n, node in enumerate(graph.nodes)
        if graph.layers[node.layer].class_name != INPUT
    )


def name_modules(layers: Iterable[str]) -> dict[str, str]:
    """Each layer's name in a form that torch accepts: without dots, which separate names, and none that torch sets."""
    names: dict[str, str] = {}
    taken = set(vars(torch.nn.Module()))
    for layer in layers:
        name = layer.replace(".", "_")
        while name in taken:
            name += "_"
        taken.add(name)
        names[layer] = name
    return names


def defer_relu(graph: Graph, modules: dict[str, Layer]) -> None:
    """Move the ReLU of a convolution into the max pooling that follows it, if nothing else uses its output."""
    calls = Counter(node.layer for node in graph.nodes)
    uses = Counter(i for node in graph.nodes for i in node.inputs) + Counter(graph.outputs)
    for node in graph.nodes:
        pool = modules.get(graph.layers[node.layer].name)
        if not isinstance(pool, MaxPooling) or uses[node.inputs[0]] > 1 or calls[node.layer] > 1:
            continue
        source = graph.nodes[node.inputs[0]].layer
        layer = modules.get(graph.layers[source].name)
        if isinstance(layer, Convolution) and layer.activity is not None:
            continue  # what is penalized is the output after the ReLU
        if isinstance(layer, Convolution) and calls[source] == 1 and layer.activation is relu:
            layer.activation, pool.activation = linear, relu
