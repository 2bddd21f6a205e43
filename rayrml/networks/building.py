"""The steps from a graph to modules with initial weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.formatting import format_bytes
from rayrml.memory import available_memory
from rayrml.networks.graph import INPUT, Graph, LayerSpec
from rayrml.networks.layers import LayerChoice, choose_layer
from rayrml.networks.layers.layer import BYTES_OF_FLOAT, Layer, format_shape
from rayrml.networks.layers.layout import Shape, held_shape
from rayrml.networks.shapes import follow_shapes, locate


def lay_out(
    graph: Graph, choices: Mapping[str, LayerChoice], input_shape: Sequence[int | None] | None
) -> tuple[dict[str, Layer], list[Shape]]:
    """The modules of all layers, whose weights have no memory yet, and the shapes of all nodes' tensors as held."""
    channels_first = any(choice.innermost.channels_first for choice in choices.values())
    modules: dict[str, Layer] = {}
    given = [_input_shape(graph.layers[graph.nodes[i].layer], input_shape, channels_first) for i in graph.inputs]
    return modules, follow_shapes(graph, modules, given, _Building(graph, choices, modules))


@dataclasses.dataclass(frozen=True)
class _Building:
    """Builds each layer for the inputs of its first call."""

    graph: Graph
    choices: Mapping[str, LayerChoice]
    modules: dict[str, Layer]

    def before(self, node: int, inputs: Sequence[Shape]) -> None:
        name = self.graph.layers[self.graph.nodes[node].layer].name
        self.choices[name].expect_inputs(len(inputs))
        if name not in self.modules:
            self.modules[name] = self.choices[name].build(*inputs)

    def after(self, node: int, inputs: Sequence[Shape], output: Shape) -> None:
        pass


def initialize(graph: Graph, modules: dict[str, Layer], choices: Mapping[str, LayerChoice]) -> None:
    """Allocate and initialize all weights, if there is enough memory.

    Raises:
        ConfigError: there is not, or the JSON asks for impossible initial values.
    """
    places = {layer.name: layer for layer in graph.layers}
    sizes = {name: BYTES_OF_FLOAT * sum(w.numel() for w in list_weights(module)) for name, module in modules.items()}
    largest = max(sizes, key=sizes.__getitem__, default="")
    # While a layer is initialized, its weights exist twice: in Keras's layout and in torch's.
    needed, free = sum(sizes.values()) + sizes.get(largest, 0), available_memory()
    if needed > free:
        has = f"{format_bytes(sizes[largest])} of the {format_bytes(needed)} that the network's initial weights need"
        message = f"its weights take {has}, but only {format_bytes(free)} are available. Use smaller layers"
        raise ConfigError(locate(places[largest], Problem("", message)))
    for name, module in modules.items():
        try:
            choices[name].initialize(module)
        except ConfigError as error:
            raise ConfigError(*(locate(places[name], p) for p in error.problems)) from None


def choose_rows(graph: Graph) -> dict[str, LayerChoice]:
    """The table row of each layer except inputs.

    Raises:
        ConfigError: all mistakes of the graph at once.
    """
    problems: list[Problem] = []
    choices: dict[str, LayerChoice] = {}
    for layer in graph.layers:
        if layer.class_name == INPUT:
            continue
        try:
            choice = choose_layer(layer.class_name, layer.config, graph.keras_version)
            for _ in range(layer.per_step):
                choice = choice.by_step()
            choices[layer.name] = choice
        except ConfigError as error:
            problems += [locate(layer, problem) for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    return choices


def _input_shape(layer: LayerSpec, given: Sequence[int | None] | None, channels_first: bool) -> Shape:
    """The shape of an input as held: the one that the layer declares, or else the one `given` as (C, *spatial).

    Raises:
        ConfigError: there is neither, or the given one has no axes or a size below 1.
    """
    if layer.declared_shape is not None:
        return held_shape(tuple(layer.declared_shape[1:]))
    if given is not None and (not given or any(size is not None and size < 1 for size in given)):
        message = f"expected an input shape (C, *spatial) with sizes of at least 1, got {format_shape(tuple(given))}"
        raise ConfigError(locate(layer, Problem("", message)))
    if given is not None:
        return held_shape(tuple(given)) if channels_first else tuple(given)
    message = "its shape is not declared. Expected 'batch_input_shape' [null, height, width, channels]"
    raise ConfigError(locate(layer, Problem("", message)))


def fix_modes(graph: Graph, modules: dict[str, Layer]) -> None:
    """Freeze what the JSON freezes, and keep layers in the mode that their calls request."""
    for number, layer in enumerate(graph.layers):
        if layer.name not in modules:
            continue
        if not layer.trainable:
            modules[layer.name].freeze()
        modes = {node.training for node in graph.nodes if node.layer == number}
        if len(modes) > 1:
            message = "is called both in training and in inference mode. Expected the same mode for all of its calls"
            raise ConfigError(locate(layer, Problem("", message)))
        if None not in modes:
            modules[layer.name].fix_mode(modes == {True})


def list_weights(layer: Layer) -> list[torch.Tensor]:
    """A layer's weights as held, with running statistics."""
    return [getattr(layer, weight.attribute) for weight in layer.weights]
