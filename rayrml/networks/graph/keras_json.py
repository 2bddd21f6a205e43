"""Reads Keras JSON of all versions: models, their layers, and the layer calls with the tensors they refer to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rayrml.config.names import suggest
from rayrml.errors import Problem
from rayrml.networks.graph import tensorflow_ops
from rayrml.networks.graph.calls import Call, Reference, listed, read_calls
from rayrml.networks.graph.nodes import SHAPE_KEYS, declared_shape

INPUT = "InputLayer"
_MODELS = ("Sequential", "Functional", "Model")
_BY_STEP = "TimeDistributed"  # each layer of a model inside it is applied to each step


@dataclasses.dataclass(slots=True)
class Entry:
    """A layer or a nested model, with its calls in the JSON's order.

    `per_step` is how many TimeDistributed are around the nested model.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    number: int
    named: bool
    calls: list[Call] = dataclasses.field(default_factory=list)
    model: Model | None = None
    per_step: int = 0

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
    """The model that parsed JSON describes; mistakes in it are appended to `problems`."""
    config, items, place = _model_config(layers)
    model = Model(str(config.get("name", "network")), where, keras_version=_keras_version(layers))
    if not isinstance(items, list) or not items:
        expected = "a list of layers, or the Keras JSON of a Sequential or functional model"
        problems.append(Problem(where, f"no layers found. Expected {expected}"))
        return model
    previous: Entry | None = None
    for i, item in enumerate(items):
        entry = _read_entry(item, i, f"{where}{place}[{i}]", problems)
        if entry is None:
            continue
        if entry.class_name != INPUT and not entry.calls:
            entry.calls.append(Call([Reference(_source(model, entry, previous, config))]))
        if entry.name in model.entries:
            taken = f"the name '{entry.name}' is already used by {model.entries[entry.name].where}"
            problems.append(Problem(entry.where, f"{taken}. Layer names must be unique"))
        model.entries[entry.name] = previous = entry
    try:
        _read_ends(model, config)
    except ValueError as error:
        problems.append(Problem(where, str(error)))
    problems.extend(_wrong_references(model))
    return model


def _model_config(layers: Any) -> tuple[Mapping[str, Any], Any, str]:
    """A model's configuration, its list of layers, and the JSON path of that list in the model, with a leading dot.

    Versions of Keras store them in different places.
    """
    wrapped = isinstance(layers, dict) and "config" in layers
    config, place = (layers["config"], ".config") if wrapped else (layers, "")
    return (config, config.get("layers"), f"{place}.layers") if isinstance(config, dict) else ({}, config, place)


def _keras_version(layers: Any) -> str:
    """The version of Keras that wrote the JSON: as stated there, or else 3 if it has forms that only Keras 3 writes."""
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
        entry.calls = read_calls(item.get("inbound_nodes") or [])
    except ValueError as error:
        problems.append(Problem(f"{where}.inbound_nodes", f"{entry}: {error}"))
    try:
        declared_shape(config)
    except ValueError as error:
        problems.append(Problem(where, f"{entry}: {error}"))
    if class_name == tensorflow_ops.LAYER:
        try:
            num_tensors = len(entry.calls[0].references()) if entry.calls else 1
            entry.class_name, entry.config = tensorflow_ops.translate(config, num_tensors)
        except ValueError as error:
            problems.append(Problem(f"{where}.config", f"{entry}: {error}"))
    elif _is_operation(item):
        _become_operation(entry)
    elif class_name == INPUT and entry.calls:
        problems.append(Problem(f"{where}.inbound_nodes", f"{entry}: an input layer cannot have inputs"))
    elif any(call.constants() for call in entry.calls):
        message = f"{entry}: a call has unsupported arguments. Expected only tensors and 'training'"
        problems.append(Problem(f"{where}.inbound_nodes", message))
    inner, place, entry.per_step = _without_steps(item, where)
    if inner.get("class_name") in _MODELS:
        entry.model = read_model(inner, place, problems)
        entry.model.name = entry.name
    return entry


def _without_steps(item: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], str, int]:
    """What is inside all TimeDistributed around it, its place, and their number."""
    config = item.get("config")
    inner = config.get("layer") if item.get("class_name") == _BY_STEP and isinstance(config, Mapping) else None
    if not isinstance(inner, Mapping):
        return item, where, 0
    innermost, place, number = _without_steps(inner, f"{where}.config.layer")
    return innermost, place, number + 1


def _is_operation(item: Mapping[str, Any]) -> bool:
    """Whether an entry is an operation on tensors (of TensorFlow or of Keras 3's `ops`) rather than a layer."""
    return item["class_name"] == "TFOpLambda" or str(item.get("module")).startswith("keras.src.ops")


def _become_operation(entry: Entry) -> None:
    """Name the operation like `tf.math.multiply` or `ops.Multiply`, and put its call's constants into its config."""
    config = dict(entry.config)
    tensorflow = entry.class_name == "TFOpLambda"
    entry.class_name = f"tf.{config.pop('function', '')}" if tensorflow else f"ops.{entry.class_name}"
    operands = [None if isinstance(item, Reference) else item for call in entry.calls[:1] for item in call.arguments]
    entry.config = config | ({"operands": operands} if any(item is not None for item in operands) else {})


def _source(model: Model, entry: Entry, previous: Entry | None, config: Mapping[str, Any]) -> str:
    """The name of the layer that feeds a layer without `inbound_nodes`: the previous one or an input created for it."""
    if previous is not None:
        return previous.name
    name = f"{entry.name}_input"
    first: Entry | None = entry
    while first is not None and first.model is not None:
        first = next((first.model.entries.get(name) for name in first.model.inputs), None)
    declared = {key: value for key, value in (first.config if first else {}).items() if key in SHAPE_KEYS}
    declared = declared or {"batch_shape": config.get("build_input_shape")}
    model.entries[name] = Entry(name, INPUT, declared, entry.where, -1, False)
    return name


def _read_ends(model: Model, config: Mapping[str, Any]) -> None:
    """Find the inputs and outputs of the model: those it names, or else every InputLayer and every unused tensor.

    Raises:
        ValueError: they are not [layer, call, tensor] or lists of such, or there is no input.
    """
    if config.get("input_layers"):
        model.inputs = [ref.layer for ref in listed(config["input_layers"])]
    else:
        model.inputs = [entry.name for entry in model.entries.values() if entry.class_name == INPUT]
    model.outputs = listed(config["output_layers"]) if config.get("output_layers") else list(_unused(model))
    if not model.inputs:
        raise ValueError("the model has no inputs. Expected at least one")


def _unused(model: Model) -> Iterator[Reference]:
    """The outputs of calls that no other call uses."""
    used: dict[str, set[int]] = {}
    for ref in (ref for entry in model.entries.values() for call in entry.calls for ref in call.references()):
        last = len(model.entries[ref.layer].calls) - 1 if ref.layer in model.entries else 0
        used.setdefault(ref.layer, set()).add(max(last, 0) if ref.call is None else ref.call)
    for entry in model.entries.values():
        if entry.model is not None and entry.name not in used:
            yield Reference(entry.name)
        elif entry.model is None:
            yield from (Reference(entry.name, i) for i in range(len(entry.calls)) if i not in used.get(entry.name, ()))


def _wrong_references(model: Model) -> Iterator[Problem]:
    for entry in model.entries.values():
        for ref in (ref for call in entry.calls for ref in call.references()):
            if ref.layer not in model.entries:
                near = suggest(ref.layer, model.entries)
                yield Problem(f"{entry.where}.inbound_nodes", f"{entry}: no layer is named '{ref.layer}'. {near}")
    for name in model.inputs:
        if name in model.entries and model.entries[name].class_name != INPUT:
            entry = model.entries[name]
            yield Problem(entry.where, f"{entry} is listed as an input of its model. Expected an InputLayer")
    for name in (*model.inputs, *(ref.layer for ref in model.outputs)):
        if name not in model.entries:
            near = suggest(name, model.entries)
            yield Problem(model.where, f"no layer is named '{name}', but it is an input or output of the model. {near}")
