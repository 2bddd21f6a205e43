"""The torch module that runs the nodes of a graph."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.network_files import read_network_file
from rayrml.errors import ConfigError, Problem
from rayrml.formatting import format_bytes
from rayrml.memory import available_memory
from rayrml.networks.ending import find_calls_at_end, mark_last_sums
from rayrml.networks.execution import defer_relu, list_steps, name_modules
from rayrml.networks.graph import INPUT, Graph, LayerSpec, read_graph
from rayrml.networks.layers import LayerChoice, choose_layer
from rayrml.networks.layers.layer import BYTES_OF_FLOAT, Layer, format_shape
from rayrml.networks.layers.layout import Shape, held_shape, keras_shape, to_held, to_keras
from rayrml.networks.penalties import Penalties
from rayrml.networks.shapes import fits, follow_shapes, locate, open_differing
from rayrml.networks.sizes import SizeCheck, describe_misfit
from rayrml.tensors import to_float32


class Row(NamedTuple):
    """A line of the network's summary: one layer call. Parameters are counted at the layer's first call."""

    name: str
    class_name: str
    output_shape: Shape
    num_parameters: int


class Network(torch.nn.Module):
    """A network built from Keras JSON; takes and returns channels-first tensors (N, C, *spatial).

    Autocast shortens what the network computes up to its last weighted sums. What follows these, such as a softmax, is
    computed in float32: a sigmoid's output close to 1 would be 1 in 16 bits, and its loss and gradient wrong.

    If the JSON is channels-first, it takes and returns Keras's tensors as they are. It also accepts them with their
    last axis moved to position 1, as other networks hold theirs, and then returns its outputs the same way.

    The sizes of the spatial axes that the JSON declares are those for which the network is built. It takes others too,
    unless a layer is made for the declared ones.

    Args:
        graph: the layers and their calls.
        modules: the module of each layer except inputs, by the layer's name.
        shapes: the shape of each node's tensor as held, (C, *spatial).
    """

    def __init__(self, graph: Graph, modules: dict[str, Layer], shapes: Sequence[Shape]):
        super().__init__()
        self.name = graph.name
        self.graph = graph
        self._names = name_modules(modules)
        self.channels_first = any(module.channels_first for module in modules.values())
        self._declared = tuple(shapes)
        self.shapes = self._from_held(shapes)
        self._steps = list_steps(graph, self._names, find_calls_at_end(graph, modules))
        self._penalties = Penalties(modules, self._names)
        # A layer may have the name of an attribute or of one of torch's own methods. Only this assignment accepts every
        # name, and only once all attributes exist.
        self._modules.update({self._names[name]: module for name, module in modules.items()})

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The shape (C, *spatial) of each input."""
        return tuple(self.shapes[i] for i in self.graph.inputs)

    @property
    def declared_shapes(self) -> tuple[Shape, ...]:
        """The shape (C, *spatial) of each input that the network was built for."""
        return self._from_held([self._declared[i] for i in self.graph.inputs])

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The shape (C, *spatial) of each output."""
        return tuple(self.shapes[i] for i in self.graph.outputs)

    @property
    def num_parameters(self) -> int:
        """The number of weights as Keras counts them, including the running statistics."""
        return sum(weight.numel() for layer in self.layers().values() for weight in _weights(layer))

    @property
    def num_running_statistics(self) -> int:
        """How many of `num_parameters` are running means and variances, which no optimizer changes."""
        weights = (weight for layer in self.layers().values() for weight in _weights(layer))
        return sum(weight.numel() for weight in weights if not isinstance(weight, torch.nn.Parameter))

    @property
    def num_trainable_parameters(self) -> int:
        """The number of weights that training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def num_operations(self) -> int:
        """The number of layer calls, not counting inputs."""
        return len(self._steps)

    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the JSON's order."""
        modules: dict[str, Any] = self._modules
        return {name: modules[module_name] for name, module_name in self._names.items()}

    @property
    def module_names(self) -> dict[str, str]:
        """The name of each layer's module, which torch restricts, by the layer's own name."""
        return dict(self._names)

    def forward(self, x: Any, *more: torch.Tensor) -> Any:
        """The output (N, C, *spatial), or a tuple of outputs, given one tensor per input or one list of them."""
        tensors = (*x, *more) if isinstance(x, list | tuple) else (x, *more)
        as_declared = self._check(tensors)
        modules: dict[str, Any] = self._modules
        self._penalties.forget(modules)
        values: list[Any] = [None] * len(self.graph.nodes)
        for slot, tensor in zip(self.graph.inputs, tensors, strict=True):
            values[slot] = to_held(tensor) if as_declared else tensor
        for module, arguments, output, free, full in self._steps:
            given = [values[i] for i in arguments]
            values[output] = modules[module](*(map(to_float32, given) if full else given))
            for i in free:
                values[i] = None
        outputs = [values[i] for i in self.graph.outputs]
        if as_declared:
            outputs = [to_keras(y) for y in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def accept(self, *alternatives: Sequence[int | None]) -> None:
        """Make the network one for inputs of the shapes `alternatives` (C, *spatial); sizes that differ become open.

        Raises:
            ConfigError: the network does not take one of them.
        """
        found: list[tuple[Shape, ...]] = []
        for shape in alternatives:
            problem = self.check_input(shape)
            if problem is not None:
                raise ConfigError(Problem("input_shape", problem))
            declared = fits(self.declared_shapes[0], shape)
            found.append(self._from_held(self._declared) if declared else self.shapes_of(shape))
        # Torch refuses to assign an attribute that has the name of a layer.
        vars(self)["shapes"] = tuple(itertools.starmap(open_differing, zip(*found, strict=True)))

    def check_input(self, *shapes: Sequence[int | None]) -> str | None:
        """What is wrong with inputs of `shapes` (C, *spatial), one per input; None if they fit."""
        if len(shapes) != len(self.input_shapes):
            return f"the network takes {len(self.input_shapes)} inputs, got {len(shapes)}"
        if all(map(fits, self.input_shapes, shapes)):
            return None
        return describe_misfit(self.declared_shapes, [tuple(shape) for shape in shapes], self._size_misfit)

    def outputs_of(self, *shapes: Sequence[int | None]) -> tuple[Shape, ...]:
        """The shapes of the outputs for inputs of `shapes` (C, *spatial), which must fit. Nothing is computed.

        Raises:
            ConfigError: a layer cannot take what the preceding layers make of such inputs.
        """
        found = self.shapes_of(*shapes)
        return tuple(found[i] for i in self.graph.outputs)

    def shapes_of(self, *shapes: Sequence[int | None]) -> tuple[Shape, ...]:
        """The shapes of all nodes' tensors for inputs of `shapes` (C, *spatial), which must fit. Nothing is computed.

        Raises:
            ConfigError: a layer cannot take what the preceding layers make of such inputs.
        """
        given = [held_shape(shape) if self.channels_first else tuple(shape) for shape in shapes]
        return self._from_held(follow_shapes(self.graph, self.layers(), given))

    def penalty(self) -> torch.Tensor | None:
        """The sum of the regularizers of all trainable weights and of the last outputs, a scalar; None without any.

        Those of outputs are means over the samples of the last batch, and are taken once.
        """
        return self._penalties.take(self._modules)

    @property
    def penalizes_outputs(self) -> bool:
        """Whether the outputs of layers are regularized."""
        return bool(self._penalties.of_outputs)

    def summary(self) -> Iterator[Row]:
        """One row per layer call, including inputs, in execution order."""
        counted: set[int] = set()
        modules = self.layers()
        for i, node in enumerate(self.graph.nodes):
            layer = self.graph.layers[node.layer]
            fresh = layer.name in modules and node.layer not in counted
            number = sum(weight.numel() for weight in _weights(modules[layer.name])) if fresh else 0
            counted.add(node.layer)
            yield Row(layer.name, layer.class_name, self.shapes[i], number)

    def _size_misfit(self, shapes: Sequence[Shape]) -> str | None:
        """Which layer is made for other spatial sizes than those of `shapes`, and why; None if none is."""
        given = [held_shape(shape) if self.channels_first else shape for shape in shapes]
        layers = self.layers()
        try:
            follow_shapes(self.graph, layers, given, SizeCheck(self.graph, layers, self._declared, given))
        except ConfigError as error:
            return error.problems[0].message
        return None

    def _from_held(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """Shapes as held, in the layout in which the network takes and returns tensors."""
        return tuple(map(keras_shape, shapes) if self.channels_first else shapes)

    def _check(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the network is channels-first and the tensors are in Keras's layout rather than the held one.

        Raises:
            ValueError: they do not fit.
        """
        shapes = [tuple(x.shape[1:]) for x in tensors]
        if self.channels_first and all(map(fits, self.input_shapes, map(keras_shape, shapes))):
            return False
        problem = self.check_input(*shapes)
        if problem is None:
            return self.channels_first
        if self.channels_first and self.check_input(*map(keras_shape, shapes)) is None:
            return False
        raise ValueError(problem)


def build_network(
    layers: str | Path | dict[str, Any] | list[Any], input_shape: Sequence[int | None] | None = None
) -> Network:
    """The network that Keras JSON describes, given as parsed JSON or as the path of a file.

    The weights are initial ones, drawn from torch's global generator. `input_shape` is (C, *spatial), with None for any
    size; a network that declares its own must take it.

    Raises:
        ConfigError: every mistake in the JSON, each with its place.
        DataError: the file cannot be read.
    """
    if not isinstance(layers, str | Path):
        return build(read_graph(layers), input_shape)
    content = read_network_file(layers)
    try:
        return build(read_graph(content), input_shape)
    except ConfigError as error:
        raise ConfigError(*with_lines_in_network(error.problems, layers)) from None


def build(graph: Graph, input_shape: Sequence[int | None] | None = None) -> Network:
    """The network of a graph, with initial weights.

    Raises:
        ConfigError: unknown layers, keys that they do not accept, inputs that do not fit, and weights too large for
            the memory.
    """
    choices = _choose(graph)
    channels_first = any(choice.channels_first for choice in choices.values())
    modules: dict[str, Layer] = {}
    given = [_input_shape(graph.layers[graph.nodes[i].layer], input_shape, channels_first) for i in graph.inputs]
    shapes = follow_shapes(graph, modules, given, _Building(graph, choices, modules))
    _initialize(graph, modules, choices)
    _fix_modes(graph, modules)
    defer_relu(graph, modules)
    mark_last_sums(graph, modules)
    network = Network(graph, modules, shapes)
    if input_shape is not None and graph.declares_inputs and len(graph.inputs) == 1:
        network.accept(input_shape)
    return network


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


def _initialize(graph: Graph, modules: dict[str, Layer], choices: Mapping[str, LayerChoice]) -> None:
    """Allocate and initialize all weights, if there is enough memory.

    Raises:
        ConfigError: there is not, or the JSON asks for impossible initial values.
    """
    places = {layer.name: layer for layer in graph.layers}
    sizes = {name: BYTES_OF_FLOAT * sum(w.numel() for w in _weights(module)) for name, module in modules.items()}
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


def _choose(graph: Graph) -> dict[str, LayerChoice]:
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
            choices[layer.name] = choose_layer(layer.class_name, layer.config, graph.keras_version)
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


def _fix_modes(graph: Graph, modules: dict[str, Layer]) -> None:
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


def _weights(layer: Layer) -> list[torch.Tensor]:
    return [getattr(layer, weight.attribute) for weight in layer.weights]
