"""Writes Keras JSON layer by layer; the channels and the resolution of each tensor are known on the way."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

KERAS_VERSION = "3.0.0"  # the version whose meaning of options the JSON has
# Where Keras defines the layers that are not among its layers.
CUSTOM = {"LayerScale": "keras.src.applications.convnext", "StochasticDepth": "keras.src.applications.convnext"}
_MODEL = {"module": "keras.src.models.functional", "class_name": "Functional"}  # as Keras 3 names it
_ACTIVATIONS = ("Activation", "ReLU")
_FLAT = ("GlobalAveragePooling", "Flatten", "Dense")


class Tensor(NamedTuple):
    """What a layer gives.

    Attributes:
        layer: the layer's name.
        channels: how many there are.
        stride: pixels of the input from one position to the next; None for numbers without positions.
    """

    layer: str
    channels: int
    stride: int | None


class Writer:
    """Collects the layers of a functional model.

    Attributes:
        input: the network's input.
        size: its spatial sizes, None for any.
        features: the last activation of each resolution, by its stride: what decoders take.
    """

    def __init__(self, name: str, shape: Sequence[int | None]):
        *self.size, channels = shape
        self.features: dict[int, Tensor] = {}
        self._name = name
        self._layers: list[Json] = []
        self._counts: Counter[str] = Counter()
        self.input = Tensor("input_layer", int(channels or 1), 1)
        self._append("InputLayer", "input_layer", (), {"batch_input_shape": [None, *shape]})

    def add(self, class_name: str, inputs: Tensor | Sequence[Tensor], name: str | None = None, **config: Any) -> Tensor:
        """Append a layer that is called on `inputs`; without a name, it has the one that Keras would give it."""
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        name = name or self._next_name(class_name)
        self._append(class_name, name, tensors, config)
        return self._note(class_name, Tensor(name, *_result(class_name, tensors, config)), config)

    def add_custom(self, class_name: str, x: Tensor, name: str, **config: Any) -> Tensor:
        """Append a layer that Keras defines outside its layers, in the module of a network."""
        self._append(class_name, name, [x], config)
        self._layers[-1] |= {"module": CUSTOM[class_name], "registered_name": class_name}
        return Tensor(name, x.channels, x.stride)

    def add_sequence(self, x: Tensor, name: str, layers: Sequence[tuple[str, str, Json]]) -> Tensor:
        """Append a Sequential model of layers, each with its class, its name and its configuration."""
        inner = [{"class_name": kind, "config": {"name": own, **config}} for kind, own, config in layers]
        self._append("Sequential", name, [x], {"layers": inner})
        result = x
        for kind, _, config in layers:
            result = Tensor(name, *_result(kind, [result], config))
        return result

    def pad_for_stride(self, x: Tensor, kernel: int, name: str) -> Tensor:
        """Append the zeros that a convolution with stride 2 needs, as Keras's networks for phones have them.

        There are fewer before even sizes, so that the windows lie as in TensorFlow's `same` padding.
        """
        sizes = [None if size is None or x.stride is None else math.ceil(size / x.stride) for size in self.size]
        odd = [size is not None and size % 2 == 1 for size in sizes]
        half = kernel // 2
        return self.add("ZeroPadding2D", x, name, padding=[[half - (not one), half] for one in odd])

    def document(self, output: Tensor) -> Json:
        """The Keras JSON of the model with this output, without layers that it does not need."""
        config = {
            "name": self._name,
            "layers": self._needed(output),
            "input_layers": [self.input.layer, 0, 0],
            "output_layers": [output.layer, 0, 0],
        }
        return {**_MODEL, "config": config, "keras_version": KERAS_VERSION}

    def _needed(self, output: Tensor) -> list[Json]:
        """The layers that the output comes from."""
        needed = {self.input.layer, output.layer}
        for layer in reversed(self._layers):
            if layer["name"] in needed:
                needed.update(source[0] for call in layer["inbound_nodes"] for source in call)
        return [layer for layer in self._layers if layer["name"] in needed]

    def _append(self, class_name: str, name: str, inputs: Sequence[Tensor], config: Json) -> None:
        calls = [[[tensor.layer, 0, 0, {}] for tensor in inputs]] if inputs else []
        entry = {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}
        self._layers.append(entry)

    def _note(self, class_name: str, tensor: Tensor, config: Json) -> Tensor:
        """The tensor; it is remembered if a decoder may take it."""
        if tensor.stride is not None and (class_name in _ACTIVATIONS or config.get("activation")):
            self.features[tensor.stride] = tensor
        return tensor

    def _next_name(self, class_name: str) -> str:
        name = _snake_case(class_name)
        number = self._counts[name]
        self._counts[name] += 1
        return f"{name}_{number}" if number else name


def format_layers(document: Json) -> str:
    """A network as JSON for people: each layer has one line."""
    model = document["config"]
    lines = ",\n".join(f"            {json.dumps(layer)}" for layer in model["layers"])
    ends = "".join(f',\n        "{key}": {json.dumps(model[key])}' for key in ("input_layers", "output_layers"))
    inner = f'{{\n        "name": {json.dumps(model["name"])},\n        "layers": [\n{lines}\n        ]{ends}\n    }}'
    values = {key: inner if key == "config" else json.dumps(value) for key, value in document.items()}
    return "{\n" + ",\n".join(f'    "{key}": {value}' for key, value in values.items()) + "\n}\n"


def _result(class_name: str, inputs: Sequence[Tensor], config: Json) -> tuple[int, int | None]:
    """The channels and the stride of what a layer gives."""
    channels, stride = inputs[0].channels, inputs[0].stride
    if class_name == "Concatenate":
        channels = sum(tensor.channels for tensor in inputs)
    channels = config.get("filters") or config.get("units") or channels
    if class_name.startswith(_FLAT) and not (class_name == "Dense" and stride is not None):
        return channels, None
    step = _first(config.get("strides") or (config.get("pool_size", 2) if "Pooling" in class_name else 1))
    if class_name.startswith("UpSampling"):
        return channels, stride and max(stride // _first(config.get("size", 2)), 1)
    if class_name.endswith("Transpose"):
        return channels, stride and max(stride // step, 1)
    return channels, stride and stride * step


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _snake_case(class_name: str) -> str:
    """`Conv2D` -> `conv2d`, as Keras names layers without a name."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
