"""The parts of a graph: layers, their calls, and the tensors that the calls produce."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

KerasPath = tuple[str | int, ...]
SHAPE_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "shape", "input_dim")


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer of the network; it may be called several times.

    `name` is unique in the network, and `where` is its place in the JSON; `keras_path` lists the names that the JSON
    gives the enclosing models and the layer itself, or the number in the model for one without a name. `per_step` is
    how many TimeDistributed are around the models that it is in.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    keras_path: KerasPath
    trainable: bool = True
    per_step: int = 0

    @property
    def declared_shape(self) -> list[int | None] | None:
        """The shape [batch, *spatial, channels] that an input declares, None if it declares none."""
        return declared_shape(self.config)


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One layer call; it produces one tensor, which is identified by the node's number.

    `inputs` are the numbers of earlier nodes; `training` is the mode that the call requests, None for the network's.
    """

    layer: int
    inputs: tuple[int, ...] = ()
    training: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A network as its JSON describes it: layers, their calls in an order that can run, inputs and outputs.

    `models` maps the Keras paths of the nested models to their classes, or to that of what is around them; `per_step`
    has the number of TimeDistributed around each that is inside one. `keras_version` is the version that wrote the
    JSON, as far as that is known.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    models: Mapping[KerasPath, str] = dataclasses.field(default_factory=dict)
    keras_version: str = "2"
    per_step: Mapping[KerasPath, int] = dataclasses.field(default_factory=dict)

    @property
    def declares_inputs(self) -> bool:
        """Whether every input declares a shape, in which sizes may be open."""
        return all(self.layers[self.nodes[i].layer].declared_shape is not None for i in self.inputs)

    def steps_around(self, path: KerasPath) -> int:
        """How many TimeDistributed are around a nested model and the models that it is in."""
        return sum(self.per_step.get(path[:length], 0) for length in range(1, len(path) + 1))


def declared_shape(config: Mapping[str, Any]) -> list[int | None] | None:
    """The shape [batch, *spatial, channels] that a configuration declares for its layer's input, None if there is none.

    Raises:
        ValueError: what it declares is not a shape.
    """
    whole = config.get("batch_input_shape") or config.get("batch_shape")
    part = (
        config.get("input_shape") or config.get("shape") or ([config["input_dim"]] if "input_dim" in config else None)
    )
    shape = whole or ([None, *part] if isinstance(part, list) else part)
    if shape is None:
        return None
    if not isinstance(shape, list) or len(shape) < 2 or not all(_is_size(size) for size in shape):
        raise ValueError(f"expected a shape such as [null, 28, 28, 1], with null for any size, got {shape}")
    return shape


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and size >= 1)
