"""Flattens nested models: every layer gets a unique name, and the calls are put in an order that can run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rayrml.errors import ConfigError, Problem
from rayrml.networks.graph.calls import Reference
from rayrml.networks.graph.keras_json import INPUT, Entry, Model
from rayrml.networks.graph.nodes import Graph, KerasPath, LayerSpec, Node


def flatten(model: Model) -> Graph:
    """The graph of `model` and its nested models, without calls that no output needs, which Keras drops too.

    Raises:
        ConfigError: calls that form a cycle or refer to missing tensors.
    """
    flattener = _Flattener(model)
    outputs = flattener.call(model, None, None)
    if not outputs:
        raise ConfigError(Problem(model.where, "the model has no outputs. Expected at least one"))
    first_nodes = {node.layer: i for i, node in reversed(list(enumerate(flattener.nodes)))}
    inputs = [first_nodes[flattener.numbers[id(model.entries[name])]] for name in model.inputs]
    return _needed(
        Graph(
            model.name,
            tuple(flattener.layers),
            tuple(flattener.nodes),
            tuple(inputs),
            tuple(outputs),
            {path: entry.class_name for path, entry in _models(model, ())},
            model.keras_version,
            {path: entry.per_step for path, entry in _models(model, ()) if entry.per_step},
        )
    )


@dataclasses.dataclass(slots=True)
class _Scope:
    """One call of a model: the nodes created so far by the calls of its layers, by layer and call number."""

    model: Model
    training: bool | None
    made: dict[tuple[str, int], list[int]]
    first_calls: Mapping[str, int]

    def tensors(self, references: Sequence[Reference]) -> list[int] | None:
        """The nodes that `references` refer to, or None if one of them does not exist yet."""
        found: list[int] = []
        for reference in references:
            nodes = self._resolve(reference)
            if nodes is None:
                return None
            found += nodes
        return found

    def _resolve(self, ref: Reference) -> list[int] | None:
        entry = self.model.entries[ref.layer]
        num_calls = max(len(entry.calls), 1)
        number = num_calls - 1 if ref.call is None else ref.call - (self.first_calls[ref.layer] if ref.counted else 0)
        if not 0 <= number < num_calls:
            message = f"{entry} has no call number {ref.call}, but another layer uses it as input"
            raise ConfigError(Problem(entry.where, message))
        nodes = self.made.get((ref.layer, number))
        if nodes is None or ref.tensor is None:
            return nodes
        if not 0 <= ref.tensor < len(nodes):
            message = f"{entry} has no output number {ref.tensor}, but another layer uses it as input"
            raise ConfigError(Problem(entry.where, message))
        return [nodes[ref.tensor]]


class _Flattener:
    """Collects the layers of a model and its nested models, and appends the nodes of their calls."""

    def __init__(self, model: Model):
        self.layers: list[LayerSpec] = []
        self.nodes: list[Node] = []
        self.numbers: dict[int, int] = {}  # id of an entry -> the number of its layer
        found = list(_entries(model, (), True))
        names = [entry.name for entry, *_ in found]
        taken: set[str] = set()
        for entry, path, trainable, per_step in found:
            name = entry.name if names.count(entry.name) == 1 else "/".join(map(str, path))
            while name in taken:
                name += "_"
            taken.add(name)
            self.numbers[id(entry)] = len(self.layers)
            self.layers.append(LayerSpec(name, entry.class_name, entry.config, entry.where, path, trainable, per_step))

    def call(self, model: Model, given: Sequence[int] | None, training: bool | None) -> list[int]:
        """Append the nodes of one call of `model` on the nodes `given` (None at the top); return its output nodes."""
        scope = _Scope(model, training, {}, _first_calls(model))
        for i, name in enumerate(model.inputs):
            node = self._append(Node(self.numbers[id(model.entries[name])])) if given is None else given[i]
            scope.made[name, 0] = [node]
        waiting = [(entry, i) for entry in model.entries.values() for i in range(len(entry.calls))]
        while waiting:
            blocked = [(entry, i) for entry, i in waiting if not self._made(scope, entry, i)]
            if len(blocked) == len(waiting):
                raise ConfigError(_cycle([entry for entry, _ in blocked]))
            waiting = blocked
        return scope.tensors(model.outputs) or []

    def _made(self, scope: _Scope, entry: Entry, number: int) -> bool:
        """Append the nodes of a layer call if its input nodes exist; return whether they do."""
        call = entry.calls[number]
        tensors = scope.tensors(call.references())
        if tensors is None:
            return False
        mode = scope.training if call.training is None else call.training
        if entry.model is None:
            scope.made[entry.name, number] = [self._append(Node(self.numbers[id(entry)], tuple(tensors), mode))]
            return True
        if len(tensors) != len(entry.model.inputs):
            message = f"{entry} is called with {len(tensors)} tensors, but has {len(entry.model.inputs)} inputs"
            raise ConfigError(Problem(entry.where, message))
        scope.made[entry.name, number] = self.call(entry.model, tensors, mode)
        return True

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


def _needed(graph: Graph) -> Graph:
    """The graph reduced to the inputs and the nodes that the outputs need."""
    needed = {*graph.inputs, *graph.outputs}
    for i in reversed(range(len(graph.nodes))):
        if i in needed:
            needed.update(graph.nodes[i].inputs)
    node_number = {old: new for new, old in enumerate(sorted(needed))}
    layer_number = {old: new for new, old in enumerate(sorted({graph.nodes[i].layer for i in needed}))}
    nodes = tuple(
        dataclasses.replace(
            graph.nodes[i],
            layer=layer_number[graph.nodes[i].layer],
            inputs=tuple(node_number[j] for j in graph.nodes[i].inputs),
        )
        for i in node_number
    )
    inputs, outputs = (tuple(node_number[i] for i in ends) for ends in (graph.inputs, graph.outputs))
    layers = tuple(graph.layers[i] for i in layer_number)
    return dataclasses.replace(graph, layers=layers, nodes=nodes, inputs=inputs, outputs=outputs)


def _entries(
    model: Model, path: KerasPath, trainable: bool, per_step: int = 0
) -> Iterator[tuple[Entry, KerasPath, bool, int]]:
    """Every layer of `model` and its nested models: its Keras path, whether it is trainable, and its `per_step`."""
    for entry in model.entries.values():
        here = (*path, entry.path_name)
        free = trainable and _is_trainable(entry.config)
        if entry.model is not None:
            yield from _entries(entry.model, here, free, per_step + entry.per_step)
        elif entry.class_name != INPUT or (not path and entry.name in model.inputs):
            yield entry, here, free, per_step


def _is_trainable(config: Mapping[str, Any]) -> bool:
    """Whether a layer's configuration, and that of the layer inside it, leave it trainable."""
    inner = config.get("layer")
    own = inner.get("config") if isinstance(inner, Mapping) else None
    return config.get("trainable", True) is not False and (not isinstance(own, Mapping) or _is_trainable(own))


def _models(model: Model, path: KerasPath) -> Iterator[tuple[KerasPath, Entry]]:
    for entry in model.entries.values():
        if entry.model is not None:
            here = (*path, entry.path_name)
            yield here, entry
            yield from _models(entry.model, here)


def _first_calls(model: Model) -> dict[str, int]:
    """The number of each layer's first call in counted references: 1 for most nested models."""
    references = [ref for entry in model.entries.values() for call in entry.calls for ref in call.references()]
    keras_3 = any(ref.call is not None and not ref.counted for ref in references)
    zeros = {ref.layer for ref in (*references, *model.outputs) if ref.counted and ref.call == 0}
    nested = [entry for entry in model.entries.values() if entry.model is not None]
    ones = {e.name for e in nested if e.name not in zeros and not (keras_3 and e.class_name == "Sequential")}
    return {name: int(name in ones) for name in model.entries}


def _cycle(blocked: list[Entry]) -> Problem:
    """The problem that names the layers of a cycle of calls."""
    names = {entry.name for entry in blocked}
    feeds = {
        entry.name: next((ref.layer for call in entry.calls for ref in call.references() if ref.layer in names), None)
        for entry in blocked
    }
    ring, name = [blocked[0].name], feeds[blocked[0].name]
    while name is not None and name not in ring:
        ring.append(name)
        name = feeds[name]
    if name is None:
        message = f"{blocked[0]} needs an input layer that is not among the inputs of its model"
        return Problem(blocked[0].where, message)
    ring = ring[ring.index(name) :]
    message = f"the layers form a cycle: {' <- '.join([*ring, ring[0]])}. A network must be acyclic"
    return Problem(blocked[0].where, message)
