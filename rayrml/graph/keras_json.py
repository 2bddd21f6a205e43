"""What Keras JSON says, in the forms of all versions: models, their layers, and the calls with what they refer to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rayrml.errors import Problem
from rayrml.graph.nodes import declared_shape
from rayrml.lookup import suggestion

INPUT = "InputLayer"
_MODELS = ("Sequential", "Functional", "Model")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A tensor of the same model: output `tensor` of call `call` of `layer`.

    None for `call` is the last one, None for `tensor` all of its outputs. `counted` tells that calls of nested models
    are counted as Keras 2 counts them: from 1, because a model's own inner call is number 0.
    """

    layer: str
    call: int | None = None
    tensor: int | None = None
    counted: bool = False


@dataclasses.dataclass(slots=True)
class Call:
    """One call of a layer, with references in the place of tensors."""

    arguments: list[Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def references(self) -> Iterator[Reference]:
        """The tensors that the call takes, in order."""
        return _leaves([self.arguments, self.options])


@dataclasses.dataclass(slots=True)
class Entry:
    """A layer or a nested model, with its calls in the JSON's order."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    number: int
    named: bool
    calls: list[Call] = dataclasses.field(default_factory=list)
    model: Model | None = None

    @property
    def path_name(self) -> str | int:
        """The name that the JSON gives the layer, or its number in the model."""
        return self.name if self.named else self.number

    def __str__(self) -> str:
        return f"{self.class_name} '{self.name}'"


@dataclasses.dataclass(slots=True)
class Model:
    """A model: its layers by name, in the JSON's order, and which of their tensors are its inputs and outputs."""

    name: str
    where: str
    entries: dict[str, Entry] = dataclasses.field(default_factory=dict)
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[Reference] = dataclasses.field(default_factory=list)
    keras_version: str = "2"


def read_model(layers: Any, where: str, problems: list[Problem]) -> Model:
    """The model that parsed JSON describes; what is wrong with it is appended to `problems`."""
    config, items = _model_config(layers)
    model = Model(str(config.get("name", "network")), where, keras_version=_keras_version(layers))
    if not isinstance(items, list) or not items:
        expected = "a list of layers, or Keras's JSON of a Sequential or functional model"
        problems.append(Problem(where, f"there are no layers here. Expected {expected}"))
        return model
    previous: Entry | None = None
    for i, item in enumerate(items):
        entry = _read_entry(item, i, f"{where}.{i}", problems)
        if entry is None:
            continue
        if entry.class_name != INPUT and not entry.calls:
            entry.calls.append(Call([Reference(_source(model, entry, previous, config))]))
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


def _keras_version(layers: Any) -> str:
    """The version of Keras that wrote the JSON: what it says, or 3 if it has a form that only Keras 3 writes."""
    if isinstance(layers, dict) and layers.get("keras_version"):
        return str(layers["keras_version"])
    text = json.dumps(layers)
    return "3" if any(f'"{word}"' in text for word in ("DTypePolicy", "__keras_tensor__", "batch_shape")) else "2"


def _read_entry(item: Any, number: int, where: str, problems: list[Problem]) -> Entry | None:
    if not isinstance(item, dict) or not isinstance(item.get("class_name"), str):
        problems.append(Problem(where, "expected a layer: an object with 'class_name' and 'config'"))
        return None
    class_name = INPUT if item["class_name"] == "Input" else item["class_name"]
    config = item["config"] if isinstance(item.get("config"), dict) else {}
    name = item.get("name") or config.get("name")
    entry = Entry(str(name or f"{class_name.lower()}_{number}"), class_name, config, where, number, bool(name))
    try:
        entry.calls = _read_calls(item.get("inbound_nodes") or [])
    except ValueError as error:
        problems.append(Problem(f"{where}.inbound_nodes", f"{entry}: {error}"))
    if class_name in _MODELS:
        entry.model = read_model(item, where, problems)
        entry.model.name = entry.name
    return entry


def _source(model: Model, entry: Entry, previous: Entry | None, config: Mapping[str, Any]) -> str:
    """The name of the layer that feeds a layer without `inbound_nodes`: the one before it, or an input made for it."""
    if previous is not None:
        return previous.name
    name = f"{entry.name}_input"
    first = entry
    while first.model is not None:
        first = first.model.entries[first.model.inputs[0]]
    shape = declared_shape(first.config) or config.get("build_input_shape")
    model.entries[name] = Entry(name, INPUT, {"batch_shape": shape}, entry.where, -1, False)
    return name


def _read_ends(model: Model, config: Mapping[str, Any]) -> None:
    """Find the inputs and outputs of the model: as it names them, or every InputLayer and every tensor left unused."""
    if config.get("input_layers"):
        model.inputs = [ref.layer for ref in _listed(config["input_layers"])]
    else:
        model.inputs = [entry.name for entry in model.entries.values() if entry.class_name == INPUT]
    if config.get("output_layers"):
        model.outputs = _listed(config["output_layers"])
        return
    used = {ref.layer for entry in model.entries.values() for call in entry.calls for ref in call.references()}
    model.outputs = [Reference(entry.name) for entry in model.entries.values() if entry.name not in used]


def _listed(ends: Any) -> list[Reference]:
    """The references in `input_layers` or `output_layers`: one, a list of them, or a dict."""
    if isinstance(ends, dict):
        return [ref for value in ends.values() for ref in _listed(value)]
    if isinstance(ends, list) and ends and isinstance(ends[0], str):
        call, tensor = [*ends[1:3], 0, 0][:2]
        return [Reference(ends[0], call, tensor, counted=True)]
    return [ref for value in ends for ref in _listed(value)] if isinstance(ends, list) else []


def _read_calls(nodes: Any) -> list[Call]:
    """The calls that `inbound_nodes` lists, in the forms of Keras 2 and 3 and of hands.

    Raises:
        ValueError: none of the known forms.
    """
    if isinstance(nodes, list) and nodes and all(isinstance(node, str) for node in nodes):
        return [Call([Reference(name) for name in nodes])]  # ["conv1", "conv2"]
    if isinstance(nodes, list):
        return [_read_call(node) for node in nodes]
    raise ValueError("expected a list of calls, each a list of [layer, call, tensor]")


def _read_call(node: Any) -> Call:
    if isinstance(node, dict) and "args" in node:  # Keras 3
        return Call(_keras_tensors(node["args"]), _keras_tensors(node.get("kwargs") or {}))
    if not isinstance(node, list) or not node:
        raise ValueError("expected a list of [layer, call, tensor]")
    items = [node] if isinstance(node[0], str) else node  # one operation on one tensor is not wrapped in a list
    call = Call([])
    for item in items:
        if not (isinstance(item, list) and len(item) >= 3 and all(isinstance(number, int) for number in item[1:2])):
            raise ValueError(f"expected [layer, call, tensor], got {item}")
        call.arguments.append(_value(item[:3]))
        call.options.update({key: _value(value) for key, value in (item[3] if len(item) > 3 else {}).items()})
    return call


def _value(item: Any) -> Any:
    """A tensor of Keras 2, written [layer, call, tensor], or the constant that stands in its place."""
    if isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str) and isinstance(item[1], int):
        if item[0] == "_CONSTANT_VALUE":
            return item[2]
        return Reference(item[0], item[1], int(item[2]), counted=True)
    return [_value(value) for value in item] if isinstance(item, list) else item


def _keras_tensors(item: Any) -> Any:
    """`item` with each of Keras 3's `__keras_tensor__` objects turned into a reference."""
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        return Reference(*item["config"]["keras_history"])
    if isinstance(item, dict):
        return {key: _keras_tensors(value) for key, value in item.items()}
    return [_keras_tensors(value) for value in item] if isinstance(item, list) else item


def _leaves(item: Any) -> Iterator[Reference]:
    if isinstance(item, Reference):
        yield item
    elif isinstance(item, dict | list):
        for value in item.values() if isinstance(item, dict) else item:
            yield from _leaves(value)


def _wrong_references(model: Model) -> Iterator[Problem]:
    for entry in model.entries.values():
        for ref in (ref for call in entry.calls for ref in call.references()):
            if ref.layer not in model.entries:
                near = suggestion(ref.layer, model.entries)
                yield Problem(f"{entry.where}.inbound_nodes", f"{entry}: no layer is named '{ref.layer}'. {near}")
    for name in (*model.inputs, *(ref.layer for ref in model.outputs)):
        if name not in model.entries:
            near = suggestion(name, model.entries)
            yield Problem(model.where, f"no layer is named '{name}', but it is an input or output of the model. {near}")
