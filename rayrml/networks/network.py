"""The torch module that runs the nodes of a graph."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.network_files import read_network_file
from rayrml.errors import ConfigError, Problem
from rayrml.networks.building import choose_rows, fix_modes, initialize, lay_out, list_weights
from rayrml.networks.ending import find_calls_at_end, mark_last_sums
from rayrml.networks.execution import Step, defer_relu, list_steps, name_modules
from rayrml.networks.graph import Graph, read_graph
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.layout import Shape, held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.regularizers import Penalty
from rayrml.networks.layers.wrappers import unwrapped
from rayrml.networks.penalties import Penalties
from rayrml.networks.segments import Segment, compute_segments, find_segments
from rayrml.networks.shapes import fits, follow_shapes, open_differing
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
        self.channels_first = any(unwrapped(module).channels_first for module in modules.values())
        self._declared = tuple(shapes)
        self.shapes = self._from_held(shapes)
        self._steps = list_steps(graph, self._names, find_calls_at_end(graph, modules))
        self._penalties = Penalties(modules, self._names)
        self._segments: tuple[Segment, ...] = ()
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
        return sum(weight.numel() for layer in self.layers().values() for weight in list_weights(layer))

    @property
    def num_running_statistics(self) -> int:
        """How many of `num_parameters` are running means and variances, which no optimizer changes."""
        weights = (weight for layer in self.layers().values() for weight in list_weights(layer))
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

    def full_names(self) -> dict[str, str]:
        """The names of the layers with those of the models around them, joined by slashes, by the layers' own names."""
        return {layer.name: "/".join(map(str, layer.keras_path)) for layer in self.graph.layers}

    def forward(self, x: Any, *more: torch.Tensor) -> Any:
        """The output (N, C, *spatial), or a tuple of outputs, given one tensor per input or one list of them."""
        tensors = (*x, *more) if isinstance(x, list | tuple) else (x, *more)
        as_declared = self._check(tensors)
        self._penalties.forget(self._modules)
        values: list[Any] = [None] * len(self.graph.nodes)
        for slot, tensor in zip(self.graph.inputs, tensors, strict=True):
            values[slot] = to_held(tensor) if as_declared else tensor
        if self._segments and self.training and torch.is_grad_enabled():
            compute_segments(self._segments, self._steps, values, self._compute)
        else:
            self._compute(values, self._steps)
        outputs = [values[i] for i in self.graph.outputs]
        if as_declared:
            outputs = [to_keras(y) for y in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def checkpoint_activations(self, names: Collection[str] | None = None) -> None:
        """Keep fewer tensors for backward from now on, and compute the others once more; results stay the same.

        Those inside the layers `names` are computed again, or those of all layers, in segments that take least memory.
        """
        modules = None if names is None else {self._names[name] for name in names}
        self._segments = find_segments(self._steps, self.graph.outputs, self.shapes, modules)

    def keeping_activations(self) -> Network:
        """The same network, with the same weights, which keeps all tensors for backward."""
        other = copy.copy(self)
        other._segments = ()
        return other

    def _compute(self, values: list[Any], steps: Sequence[Step]) -> None:
        """Do some calls: take tensors from their slots in `values`, and put the results into theirs."""
        modules: dict[str, Any] = self._modules
        for module, arguments, output, free, full in steps:
            given = [values[i] for i in arguments]
            values[output] = modules[module](*(map(to_float32, given) if full else given))
            for i in free:
                values[i] = None

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

    def penalty(self, *, of_weights: bool = True) -> torch.Tensor | None:
        """The sum of the regularizers of all trainable weights and of the last outputs, a scalar; None without any.

        Those of outputs are means over the samples of the last batch, and are taken once. Those `of_weights` can be
        left out.
        """
        return self._penalties.take(self._modules, of_weights=of_weights)

    def penalized_weights(self) -> list[tuple[torch.nn.Parameter, Penalty]]:
        """The trainable weights that are regularized, and the penalty of each."""
        return self._penalties.list_weights(self._modules)

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
            number = sum(weight.numel() for weight in list_weights(modules[layer.name])) if fresh else 0
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
    choices = choose_rows(graph)
    modules, shapes = lay_out(graph, choices, input_shape)
    initialize(graph, modules, choices)
    fix_modes(graph, modules)
    defer_relu(graph, modules)
    mark_last_sums(graph, modules)
    network = Network(graph, modules, shapes)
    if input_shape is not None and graph.declares_inputs and len(graph.inputs) == 1:
        network.accept(input_shape)
    return network


def outline(graph: Graph) -> tuple[int, list[Shape]]:
    """The number of weights of a graph that declares its inputs, and the shapes of all nodes' tensors as held.

    Nothing is computed, and no memory is needed for the weights.

    Raises:
        ConfigError: unknown layers, keys that they do not accept, and inputs that do not fit.
    """
    modules, shapes = lay_out(graph, choose_rows(graph), None)
    return sum(weight.numel() for module in modules.values() for weight in list_weights(module)), shapes
