"""Keras JSON of any version -> an ordered, acyclic list of layer calls. Knows no torch and no layer's options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rayrml.errors import ConfigError, Problem
from rayrml.lookup import suggestion

INPUT = "InputLayer"
_MODELS = ("Sequential", "Functional", "Model")
_SHAPE_KEYS = ("batch_input_shape", "batch_shape")


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the network; it may be called several times.

    `name` is unique in the network; `keras_path` holds the names of the nested models around the layer and its own name
    as the JSON gives them; `where` is its place in the JSON.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    keras_path: tuple[str, ...]
    trainable: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """Stands in a node's arguments for the tensor of its input number `index`."""

    index: int


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One call of a layer; it makes one tensor, which goes by the node's number.

    `inputs` are the numbers of earlier nodes. `arguments` and `options` are the call's positional and keyword
    arguments, with a `Slot` for each input; `training` is the mode that the call asks for, None for the network's own.
    """

    layer: int
    inputs: tuple[int, ...] = ()
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A network as its JSON describes it: layers, their calls in an order in which they can run, inputs and outputs."""

    name: str
    layers: tuple[Layer, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(layers: dict[str, Any] | list[Any], path: str = "layers") -> Graph:
    """The graph of parsed Keras JSON: a Sequential, a functional model, or a bare list of layers.

    Raises:
        ConfigError: everything that is wrong with the structure, each with its place below `path`.
    """
    problems: list[Problem] = []
    model = _read_model(layers, path, problems)
    if problems:
        raise ConfigError(*problems)
    flattener = _Flattener(model)
    outputs = flattener.call(model, None, None)
    return flattener.graph(model, outputs)


@dataclasses.dataclass(frozen=True, slots=True)
class _Reference:
    """A tensor of the same model: output `tensor` of call `call` of `layer`.

    None for `call` is the last one, None for `tensor` all of its outputs. `counted` tells that calls of nested models
    are counted as Keras 2 counts them: from 1, because a model's own inner call is number 0.
    """

    layer: str
    call: int | None = None
    tensor: int | None = None
    counted: bool = False


@dataclasses.dataclass(slots=True)
class _Call:
    arguments: list[Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def references(self) -> Iterator[_Reference]:
        return _leaves([self.arguments, self.options])


@dataclasses.dataclass(slots=True)
class _Entry:
    """A layer or a nested model, with its calls in the JSON's order."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    calls: list[_Call] = dataclasses.field(default_factory=list)
    model: _Model | None = None

    def __str__(self) -> str:
        return f"{self.class_name} '{self.name}'"


@dataclasses.dataclass(slots=True)
class _Model:
    name: str
    where: str
    entries: dict[str, _Entry] = dataclasses.field(default_factory=dict)
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[_Reference] = dataclasses.field(default_factory=list)


def _read_model(layers: Any, where: str, problems: list[Problem]) -> _Model:
    config, items = _model_config(layers)
    model = _Model(str(config.get("name", "network")), where)
    if not isinstance(items, list) or not items:
        expected = "a list of layers, or Keras's JSON of a Sequential or functional model"
        problems.append(Problem(where, f"there are no layers here. Expected {expected}"))
        return model
    previous: _Entry | None = None
    for i, item in enumerate(items):
        entry = _read_entry(item, f"{where}.{i}", problems)
        if entry is None:
            continue
        if entry.class_name != INPUT and not entry.calls:
            entry.calls.append(_Call([_Reference(_source(model, entry, previous, config))]))
        if entry.name in model.entries:
            taken = f"the name '{entry.name}' is also that of {model.entries[entry.name].where}"
            problems.append(Problem(entry.where, f"{taken}. Every layer needs a name of its own"))
        model.entries[entry.name] = previous = entry
    _read_ends(model, config)
    problems.extend(_wrong_references(model))
    return model


def _model_config(layers: Any) -> tuple[Mapping[str, Any], Any]:
    """The configuration of a model and its list of layers, wherever this version of Keras keeps them."""
    config = layers.get("config", layers) if isinstance(layers, dict) else layers
    return (config, config.get("layers")) if isinstance(config, dict) else ({}, config)


def _read_entry(item: Any, where: str, problems: list[Problem]) -> _Entry | None:
    if not isinstance(item, dict) or not isinstance(item.get("class_name"), str):
        problems.append(Problem(where, "expected a layer: an object with 'class_name' and 'config'"))
        return None
    class_name, config = item["class_name"], item.get("config", {})
    named = config if isinstance(config, dict) else {}
    number = where.rpartition(".")[2]
    name = str(item.get("name") or named.get("name") or f"{class_name.lower()}_{number}")
    entry = _Entry(name, class_name, named, where)
    try:
        entry.calls = _read_calls(item.get("inbound_nodes") or [])
    except ValueError as error:
        problems.append(Problem(f"{where}.inbound_nodes", f"{entry}: {error}"))
    if class_name in _MODELS:
        entry.model = _read_model(item, where, problems)
        entry.model.name = name
    return entry


def _source(model: _Model, entry: _Entry, previous: _Entry | None, config: Mapping[str, Any]) -> str:
    """The name of the layer that feeds a layer without `inbound_nodes`: the one before it, or an input made for it."""
    if previous is not None:
        return previous.name
    name = f"{entry.name}_input"
    shape = next((entry.config[key] for key in _SHAPE_KEYS if entry.config.get(key)), None)
    if shape is None and entry.config.get("input_shape"):
        shape = [None, *entry.config["input_shape"]]
    shape = shape or config.get("build_input_shape")
    model.entries[name] = _Entry(name, INPUT, {"batch_input_shape": shape}, entry.where)
    return name


def _read_ends(model: _Model, config: Mapping[str, Any]) -> None:
    """Find the inputs and outputs of the model: as it names them, or every InputLayer and every tensor left unused."""
    if config.get("input_layers"):
        model.inputs = [ref.layer for ref in _listed(config["input_layers"])]
    else:
        model.inputs = [entry.name for entry in model.entries.values() if entry.class_name == INPUT]
    if config.get("output_layers"):
        model.outputs = _listed(config["output_layers"])
        return
    used = {ref.layer for entry in model.entries.values() for call in entry.calls for ref in call.references()}
    model.outputs = [_Reference(entry.name) for entry in model.entries.values() if entry.name not in used]


def _listed(ends: Any) -> list[_Reference]:
    """The references in `input_layers` or `output_layers`: one, a list of them, or a dict."""
    if isinstance(ends, dict):
        return [ref for value in ends.values() for ref in _listed(value)]
    if isinstance(ends, list) and ends and isinstance(ends[0], str):
        call, tensor = [*ends[1:3], 0, 0][:2]
        return [_Reference(ends[0], call, tensor, counted=True)]
    return [ref for value in ends for ref in _listed(value)] if isinstance(ends, list) else []


def _read_calls(nodes: Any) -> list[_Call]:
    """The calls that `inbound_nodes` lists, in the forms of Keras 2 and 3 and of hands.

    Raises:
        ValueError: none of the known forms.
    """
    if isinstance(nodes, list) and nodes and all(isinstance(node, str) for node in nodes):
        return [_Call([_Reference(name) for name in nodes])]  # ["conv1", "conv2"]
    if isinstance(nodes, list):
        return [_read_call(node) for node in nodes]
    raise ValueError("expected a list of calls, each a list of [layer, call, tensor]")


def _read_call(node: Any) -> _Call:
    if isinstance(node, dict) and "args" in node:  # Keras 3
        return _Call(_keras_tensors(node["args"]), _keras_tensors(node.get("kwargs") or {}))
    if not isinstance(node, list) or not node:
        raise ValueError("expected a list of [layer, call, tensor]")
    items = [node] if isinstance(node[0], str) else node  # one operation on one tensor is not wrapped in a list
    call = _Call([])
    for item in items:
        if not isinstance(item, list) or len(item) < 3:
            raise ValueError(f"expected [layer, call, tensor], got {item}")
        call.arguments.append(_value(item[:3]))
        call.options.update({key: _value(value) for key, value in (item[3] if len(item) > 3 else {}).items()})
    return call


def _value(item: Any) -> Any:
    """A tensor of Keras 2, written [layer, call, tensor], or the constant that stands in its place."""
    if isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str):
        if item[0] == "_CONSTANT_VALUE":
            return item[2]
        return _Reference(item[0], item[1], item[2], counted=True)
    return [_value(value) for value in item] if isinstance(item, list) else item


def _keras_tensors(item: Any) -> Any:
    """`item` with each of Keras 3's `__keras_tensor__` objects turned into a reference."""
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        return _Reference(*item["config"]["keras_history"])
    if isinstance(item, dict):
        return {key: _keras_tensors(value) for key, value in item.items()}
    return [_keras_tensors(value) for value in item] if isinstance(item, list) else item


def _leaves(item: Any) -> Iterator[_Reference]:
    if isinstance(item, _Reference):
        yield item
    elif isinstance(item, dict | list):
        for value in item.values() if isinstance(item, dict) else item:
            yield from _leaves(value)


def _wrong_references(model: _Model) -> Iterator[Problem]:
    for entry in model.entries.values():
        for ref in (ref for call in entry.calls for ref in call.references()):
            if ref.layer not in model.entries:
                near = suggestion(ref.layer, model.entries)
                yield Problem(f"{entry.where}.inbound_nodes", f"{entry}: no layer is named '{ref.layer}'. {near}")
    for name in (*model.inputs, *(ref.layer for ref in model.outputs)):
        if name not in model.entries:
            near = suggestion(name, model.entries)
            yield Problem(model.where, f"no layer is named '{name}', but it is an input or output of the model. {near}")


class _Flattener:
    """Collects the layers of a model and of those nested in it, and writes out every call in an order that can run."""

    def __init__(self, model: _Model):
        self.layers: list[Layer] = []
        self.nodes: list[Node] = []
        self.numbers: dict[int, int] = {}  # id of an entry -> its layer's number
        found = list(_entries(model, (), True))
        names = [path[-1] for _, path, _ in found]
        taken: set[str] = set()
        for entry, path, trainable in found:
            name = path[-1] if names.count(path[-1]) == 1 else "/".join(path)
            while name in taken:
                name += "_"
            taken.add(name)
            self.numbers[id(entry)] = len(self.layers)
            self.layers.append(Layer(name, entry.class_name, entry.config, entry.where, path, trainable))

    def call(self, model: _Model, given: Sequence[int] | None, training: bool | None) -> list[int]:
        """Append the nodes of one call of `model` on the nodes `given`, None at the top; the nodes of its outputs."""
        made = {(name, 0): [number] for name, number in zip(model.inputs, given or (), strict=given is not None)}
        first = _first_calls(model)
        waiting = []
        for entry in model.entries.values():
            if entry.class_name == INPUT and given is None:
                made[entry.name, 0] = [self._append(Node(self.numbers[id(entry)]))]
            waiting += [(entry, i, call) for i, call in enumerate(entry.calls)]
        while waiting:
            blocked = []
            for entry, i, call in waiting:
                tensors = [self._resolve(model, ref, first, made) for ref in call.references()]
                if None in tensors:
                    blocked.append((entry, i, call))
                else:
                    made[entry.name, i] = self._call_entry(
                        entry, call, [t for group in tensors for t in group or ()], training
                    )
            if len(blocked) == len(waiting):
                raise ConfigError(_cycle(blocked, made))
            waiting = blocked
        return [t for ref in model.outputs for t in self._resolve(model, ref, first, made) or ()]

    def _resolve(self, model: _Model, ref: _Reference, first: Mapping[str, int], made: Mapping[Any, list[int]]) -> Any:
        """The nodes that `ref` stands for, or None if they are not made yet."""
        entry = model.entries[ref.layer]
        num_calls = max(len(entry.calls), 1)
        number = num_calls - 1 if ref.call is None else ref.call - (first[ref.layer] if ref.counted else 0)
        if not 0 <= number < num_calls:
            message = f"{entry} is called {num_calls} times, but its call number {ref.call} is asked for"
            raise ConfigError(Problem(entry.where, message))
        nodes = made.get((ref.layer, number))
        if nodes is None or ref.tensor is None:
            return nodes
        if ref.tensor >= len(nodes):
            message = f"{entry} makes {len(nodes)} tensors, but number {ref.tensor} is asked for"
            raise ConfigError(Problem(entry.where, message))
        return [nodes[ref.tensor]]

    def _call_entry(self, entry: _Entry, call: _Call, tensors: list[int], training: bool | None) -> list[int]:
        mode = call.options.get("training")
        mode = training if mode is None else bool(mode)
        if entry.model is not None:
            if len(tensors) != len(entry.model.inputs):
                expected = f"it has {len(entry.model.inputs)} inputs"
                raise ConfigError(
                    Problem(entry.where, f"{entry} is called with {len(tensors)} tensors, but {expected}")
                )
            return self.call(entry.model, tensors, mode)
        slots = iter(range(len(tensors)))
        arguments = _with_slots(call.arguments, slots)
        options = {k: _with_slots(v, slots) for k, v in call.options.items() if k != "training" and v is not None}
        return [self._append(Node(self.numbers[id(entry)], tuple(tensors), tuple(arguments), options, mode))]

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def graph(self, model: _Model, outputs: Sequence[int]) -> Graph:
        """The graph without the calls that no output needs, which Keras drops too."""
        numbers = {node.layer: i for i, node in enumerate(self.nodes)}
        inputs = [numbers[self.numbers[id(model.entries[name])]] for name in model.inputs]
        needed = {*inputs, *outputs}
        for i in reversed(range(len(self.nodes))):
            if i in needed:
                needed.update(self.nodes[i].inputs)
        kept = sorted(needed)
        number = {old: new for new, old in enumerate(kept)}
        used = sorted({self.nodes[i].layer for i in kept})
        layer = {old: new for new, old in enumerate(used)}
        nodes = [
            dataclasses.replace(node, layer=layer[node.layer], inputs=tuple(number[i] for i in node.inputs))
            for node in (self.nodes[i] for i in kept)
        ]
        return Graph(
            model.name,
            tuple(self.layers[i] for i in used),
            tuple(nodes),
            tuple(number[i] for i in inputs),
            tuple(number[i] for i in outputs),
        )


def _entries(model: _Model, path: tuple[str, ...], trainable: bool) -> Iterator[tuple[_Entry, tuple[str, ...], bool]]:
    """Every layer of `model` and of the models in it, with its Keras path and whether it may be trained."""
    for entry in model.entries.values():
        here, free = (*path, entry.name), trainable and entry.config.get("trainable", True) is not False
        if entry.model is not None:
            yield from _entries(entry.model, here, free)
        elif not path or entry.class_name != INPUT:
            yield entry, here, free


def _first_calls(model: _Model) -> dict[str, int]:
    """The number of each layer's first call in counted references: 1 for most nested models."""
    references = [ref for entry in model.entries.values() for call in entry.calls for ref in call.references()]
    keras_3 = any(ref.call is not None and not ref.counted for ref in references)
    zeros = {ref.layer for ref in (*references, *model.outputs) if ref.counted and ref.call == 0}
    return {
        entry.name: int(
            entry.model is not None and entry.name not in zeros and not (keras_3 and entry.class_name == "Sequential")
        )
        for entry in model.entries.values()
    }


def _with_slots(item: Any, slots: Iterator[int]) -> Any:
    if isinstance(item, _Reference):
        return Slot(next(slots))
    if isinstance(item, dict):
        return {key: _with_slots(value, slots) for key, value in item.items()}
    return [_with_slots(value, slots) for value in item] if isinstance(item, list) else item


def _cycle(blocked: list[tuple[_Entry, int, _Call]], made: Mapping[Any, Any]) -> Problem:
    """The problem that names the layers of a ring of calls that wait for each other."""
    names = {entry.name for entry, _, _ in blocked}
    feeds = {
        entry.name: next((r.layer for r in call.references() if r.layer in names), None) for entry, _, call in blocked
    }
    entry = blocked[0][0]
    ring = [entry.name]
    while (name := feeds.get(ring[-1])) is not None and name not in ring:
        ring.append(name)
    if name is None:
        return Problem(entry.where, f"{entry} needs the input '{ring[-1]}', which is not an input of its model")
    ring = ring[ring.index(name) :]
    return Problem(entry.where, f"the layers form a cycle: {' <- '.join([*ring, ring[0]])}. A network must be acyclic")
