"""The parts of a graph: layers, their calls, and the tensors that the calls make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

KerasPath = tuple[str | int, ...]
SHAPE_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "shape", "input_dim")


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer of the network; it may be called several times.

    `name` is unique in the network and `where` is its place in the JSON; `keras_path` holds the names of the nested
    models around the layer and its own, as the JSON gives them, or its number in its model where it has no name.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]
    where: str
    keras_path: KerasPath
    trainable: bool = True

    @property
    def declared_shape(self) -> list[int | None] | None:
        """The shape [batch, *spatial, channels] that an input declares, None if it does not."""
        return declared_shape(self.config)


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One call of a layer; it makes one tensor, which goes by the node's number.

    `inputs` are the numbers of earlier nodes; `training` is the mode that the call asks for, None for the network's.
    """

    layer: int
    inputs: tuple[int, ...] = ()
    training: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A network as its JSON describes it: layers, their calls in an order in which they can run, inputs and outputs.

    `models` are the classes of the nested models, by their Keras paths; `keras_version` is that of the JSON's writer as
    far as it can be told.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    models: Mapping[KerasPath, str] = dataclasses.field(default_factory=dict)
    keras_version: str = "2"

    @property
    def declares_inputs(self) -> bool:
        """Whether every input has a shape, though sizes in it may be open."""
        return all(self.layers[self.nodes[i].layer].declared_shape is not None for i in self.inputs)


def declared_shape(config: Mapping[str, Any]) -> list[int | None] | None:
    """The shape [batch, *spatial, channels] that a configuration declares for its layer's input; None if none.

    Raises:
        ValueError: what it declares is no shape.
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
