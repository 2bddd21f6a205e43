"""The torch module that runs the nodes of a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.network_files import read_network_file
from rayrml.errors import ConfigError, Problem
from rayrml.formatting import format_bytes
from rayrml.memory import available_memory
from rayrml.networks.ending import find_calls_at_end, mark_last_sums
from rayrml.networks.graph import INPUT, Graph, LayerSpec, read_graph
from rayrml.networks.layers import LayerChoice, choose_layer
from rayrml.networks.layers.activations import linear, relu
from rayrml.networks.layers.convolution import Convolution
from rayrml.networks.layers.layer import BYTES_OF_FLOAT, Layer, expect_countable, format_shape
from rayrml.networks.layers.layout import Shape, held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.pooling import MaxPooling
from rayrml.tensors import to_float32

_OUTPUT = "its output for one sample,"


class Row(NamedTuple):
    """A line of the network's summary: one layer call. Parameters are counted at the layer's first call."""

    name: str
    class_name: str
    output_shape: Shape
    num_parameters: int


class _Step(NamedTuple):
    """One call: `module` on the tensors in the slots `inputs`; the slots in `free` are not needed afterwards.

    `full` asks for inputs in float32, also where autocast made them shorter.
    """

    module: str
    inputs: tuple[int, ...]
    output: int
    free: tuple[int, ...]
    full: bool


class Network(torch.nn.Module):
    """A network built from Keras JSON; takes and returns channels-first tensors (N, C, *spatial).

    Autocast shortens what the network computes up to its last weighted sums. What follows these, such as a softmax, is
    computed in float32: a sigmoid's output close to 1 would be 1 in 16 bits, and its loss and gradient wrong.

    If the JSON is channels-first, it takes and returns Keras's tensors as they are. It also accepts them with their
    last axis moved to position 1, as other networks hold theirs, and then returns its outputs the same way.

    Args:
        graph: the layers and their calls.
        modules: the module of each layer except inputs, by the layer's name.
        shapes: the shape of each node's tensor, (C, *spatial).
    """

    def __init__(self, graph: Graph, modules: dict[str, Layer], shapes: Sequence[Shape]):
        super().__init__()
        self.name = graph.name
        self.graph = graph
        self._names = _module_names(modules)
        self.channels_first = any(module.channels_first for module in modules.values())
        self.shapes = tuple(map(keras_shape, shapes) if self.channels_first else shapes)
        self.input_shapes = tuple(self.shapes[i] for i in graph.inputs)
        self.output_shapes = tuple(self.shapes[i] for i in graph.outputs)
        self._steps = _steps(graph, self._names, find_calls_at_end(graph, modules))
        self._penalized = [
            (self._names[name], attribute, penalty)
            for name, module in modules.items()
            for attribute, penalty in module.penalties.items()
        ]
        # A layer may have the name of an attribute or of one of torch's own methods. Only this assignment accepts every
        # name, and only once all attributes exist.
        self._modules.update({self._names[name]: module for name, module in modules.items()})

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

    def check_input(self, *shapes: Sequence[int | None]) -> str | None:
        """What is wrong with inputs of `shapes` (C, *spatial), one per input; None if they fit."""
        if len(shapes) != len(self.input_shapes):
            return f"the network takes {len(self.input_shapes)} inputs, got {len(shapes)}"
        for expected, given in zip(self.input_shapes, shapes, strict=True):
            if len(expected) != len(given) or any(e not in (None, g) for e, g in zip(expected, given, strict=True)):
                wanted = format_shape(expected)
                return f"the network takes inputs of shape {wanted}, channels first, got {format_shape(tuple(given))}"
        return None

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
        modules = self.layers()
        given = dict(zip(self.graph.inputs, shapes, strict=True))
        found: list[Shape] = []
        for i, node in enumerate(self.graph.nodes):
            if i in given:
                found.append(held_shape(given[i]) if self.channels_first else tuple(given[i]))
                continue
            layer, inputs = self.graph.layers[node.layer], [found[j] for j in node.inputs]
            try:
                found.append(modules[layer.name].result_shape(*inputs))
                expect_countable(found[-1], _OUTPUT)
            except ConfigError as error:
                raise ConfigError(*(_located(layer, p, inputs) for p in error.problems)) from None
        return tuple(map(keras_shape, found) if self.channels_first else found)

    def penalty(self) -> torch.Tensor | None:
        """The sum of the regularizers of all trainable weights, a scalar; None if there are none."""
        modules: dict[str, Any] = self._modules
        weights = [(getattr(modules[name], attribute), penalty) for name, attribute, penalty in self._penalized]
        terms = [penalty(weight) for weight, penalty in weights if weight.requires_grad]
        return torch.stack(terms).sum() if terms else None

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

    def _check(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the network is channels-first and the tensors are in Keras's layout rather than the held one.

        Raises:
            ValueError: they do not fit.
        """
        shapes = [tuple(x.shape[1:]) for x in tensors]
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
    size, for networks that do not declare it.

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
    shapes: list[Shape] = []
    for node in graph.nodes:
        layer = graph.layers[node.layer]
        if layer.class_name == INPUT:
            shapes.append(_input_shape(layer, input_shape, channels_first))
            continue
        given = [shapes[i] for i in node.inputs]
        try:
            choices[layer.name].expect_inputs(len(given))
            if layer.name not in modules:
                modules[layer.name] = choices[layer.name].build(*given)
            shapes.append(modules[layer.name].result_shape(*given))
            expect_countable(shapes[-1], _OUTPUT)
        except ConfigError as error:
            raise ConfigError(*(_located(layer, p, given) for p in error.problems)) from None
    _initialize(graph, modules, choices)
    _fix_modes(graph, modules)
    _defer_relu(graph, modules)
    mark_last_sums(graph, modules)
    return Network(graph, modules, shapes)


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
        raise ConfigError(_located(places[largest], Problem("", message)))
    for name, module in modules.items():
        try:
            choices[name].initialize(module)
        except ConfigError as error:
            raise ConfigError(*(_located(places[name], p) for p in error.problems)) from None


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
            problems += [_located(layer, problem) for problem in error.problems]
    if problems:
        raise ConfigError(*problems)
    return choices


def _located(layer: LayerSpec, problem: Problem, shapes: Sequence[Shape] = ()) -> Problem:
    """A layer's problem with the layer's place and name, and the shapes of its inputs if they are known."""
    where = f"{layer.where}.config.{problem.where}" if problem.where else layer.where
    on = f" on {' and '.join(map(format_shape, shapes))}" if shapes else ""
    return Problem(where, f"{layer.class_name} '{layer.name}'{on}: {problem.message}")


def _input_shape(layer: LayerSpec, given: Sequence[int | None] | None, channels_first: bool) -> Shape:
    """The shape of an input as held: the one that the layer declares, or else the one `given` as (C, *spatial).

    Raises:
        ConfigError: there is neither, or the given one has no axes or a size below 1.
    """
    if layer.declared_shape is not None:
        return held_shape(tuple(layer.declared_shape[1:]))
    if given is not None and (not given or any(size is not None and size < 1 for size in given)):
        message = f"expected an input shape (C, *spatial) with sizes of at least 1, got {format_shape(tuple(given))}"
        raise ConfigError(_located(layer, Problem("", message)))
    if given is not None:
        return held_shape(tuple(given)) if channels_first else tuple(given)
    message = "its shape is not declared. Expected 'batch_input_shape' [null, height, width, channels]"
    raise ConfigError(_located(layer, Problem("", message)))


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
            raise ConfigError(_located(layer, Problem("", message)))
        if None not in modes:
            modules[layer.name].fix_mode(modes == {True})


def _defer_relu(graph: Graph, modules: dict[str, Layer]) -> None:
    """Move the ReLU of a convolution into the max pooling that follows it, if nothing else uses its output."""
    calls = Counter(node.layer for node in graph.nodes)
    uses = Counter(i for node in graph.nodes for i in node.inputs) + Counter(graph.outputs)
    for node in graph.nodes:
        pool = modules.get(graph.layers[node.layer].name)
        if not isinstance(pool, MaxPooling) or uses[node.inputs[0]] > 1 or calls[node.layer] > 1:
            continue
        source = graph.nodes[node.inputs[0]].layer
        layer = modules.get(graph.layers[source].name)
        if isinstance(layer, Convolution) and calls[source] == 1 and layer.activation is relu:
            layer.activation, pool.activation = linear, relu


def _steps(graph: Graph, names: Mapping[str, str], at_end: Set[int]) -> tuple[_Step, ...]:
    """The calls, each with the slots to free after it, so that no tensor outlives its last use."""
    last = {i: n for n, node in enumerate(graph.nodes) for i in node.inputs}
    dead: dict[int, list[int]] = {}
    for slot, n in last.items():
        if slot not in graph.outputs:
            dead.setdefault(n, []).append(slot)
    return tuple(
        _Step(names[graph.layers[node.layer].name], node.inputs, n, tuple(dead.get(n, ())), n in at_end)
        for n, node in enumerate(graph.nodes)
        if graph.layers[node.layer].class_name != INPUT
    )


def _module_names(layers: Iterable[str]) -> dict[str, str]:
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


def _weights(layer: Layer) -> list[torch.Tensor]:
    return [getattr(layer, weight.attribute) for weight in layer.weights]
