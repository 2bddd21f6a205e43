"""Whether a network that declares one size of samples means the same for samples of another size.

Most layers treat every position alike. Others are made for one size: the weights after a Flatten, a Reshape to given
sizes, a pooling window that is as large as what it pools. Where their input has another size, the network is refused:
its output would be of no use, although often nothing keeps it from being computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from rayrml.errors import ConfigError, Problem
from rayrml.networks.graph import Graph
from rayrml.networks.layers.activations import PReLU
from rayrml.networks.layers.convolution import TransposedConvolution
from rayrml.networks.layers.layer import Layer, Shape, format_shape
from rayrml.networks.layers.layout import keras_shape
from rayrml.networks.layers.merging import Dot, Elementwise
from rayrml.networks.layers.normalization import BatchNormalization, GroupNormalization, LayerNormalization
from rayrml.networks.layers.pooling import GlobalPooling
from rayrml.networks.layers.preprocessing import Normalization, Resizing
from rayrml.networks.layers.reshaping import Flatten, Permute, Reshape, UpSampling
from rayrml.networks.shapes import fits

_REACH, _STEP = 128, 8  # how far from a refused size others are tried: networks halve sizes several times
_ENLARGING = (TransposedConvolution, Reshape, UpSampling)

Flags = tuple[bool, ...]


class _Tensor(NamedTuple):
    """What is known of a node's tensor for samples of another size than declared.

    Attributes:
        other: of each axis (C, *spatial), whether it counts other positions than for samples of the declared size.
        learnt: whether layers with weights are among those that it comes from.
        pooled: whether it does not depend on where anything is in the sample.
        fixed: whether it has positions, in a number that does not depend on the size of the sample.
    """

    other: Flags
    learnt: bool = False
    pooled: bool = False
    fixed: bool = False


class SizeCheck:
    """Refuses layers that are made for the declared size when they are given another one.

    Args:
        graph: the layers and their calls.
        layers: the layers by name.
        declared: the shape of each node's tensor, as held, for samples of the declared size.
        given: the shape of each input, as held.
    """

    def __init__(self, graph: Graph, layers: Mapping[str, Layer], declared: Sequence[Shape], given: Sequence[Shape]):
        self._graph = graph
        self._layers = layers
        self._declared = declared
        self._tensors = {i: _Tensor(_differ(declared[i], shape)) for i, shape in zip(graph.inputs, given, strict=True)}

    def before(self, node: int, inputs: Sequence[Shape]) -> None:
        """Check that the layer of a call is not made for other inputs. Raises ConfigError if it is."""
        layer, declared = self._layer(node), self._inputs(node)
        if layer.weights and any(itertools.compress(_own(layer, self._merged(node)), _weighted_axes(layer))):
            message = (
                f"it has weights for each position of an input of {_listed(declared)}, as the declared size gives it"
            )
            raise ConfigError(Problem("", message))
        if any(itertools.chain(*(_differ(*pair) for pair in zip(declared, inputs, strict=True)))):
            self._check_fixed_sizes(layer, declared, inputs)

    def after(self, node: int, inputs: Sequence[Shape], output: Shape) -> None:
        """Note what is known of the output. Raises ConfigError if the network ends with it and its size is fixed."""
        layer, before = self._layer(node), [self._tensors[j] for j in self._graph.nodes[node].inputs]
        pooled = isinstance(layer, Flatten | GlobalPooling) or all(tensor.pooled for tensor in before)
        enlarges = isinstance(layer, _ENLARGING) and pooled and _has_positions(output)
        resizes = isinstance(layer, Resizing) and any(t.learnt and any(t.other) for t in before)
        keeps = all(tensor.fixed for tensor in before) and _has_positions(output)
        tensor = _Tensor(
            self._others(node, inputs, output),
            learnt=bool(layer.weights) or any(tensor.learnt for tensor in before),
            pooled=pooled,
            fixed=keeps or enlarges or resizes,
        )
        self._tensors[node] = tensor
        like_sample = len(output) in {len(self._declared[i]) for i in self._graph.inputs}
        if tensor.fixed and like_sample and node in self._graph.outputs:
            message = f"the network's output is always of shape {format_shape(output)}, that of the declared size"
            raise ConfigError(Problem("", message))

    def _check_fixed_sizes(self, layer: Layer, declared: Sequence[Shape], inputs: Sequence[Shape]) -> None:
        """Raise ConfigError if a layer without weights for positions still depends on the declared size."""
        if isinstance(layer, Elementwise) and len(set(declared)) == 1 and len(set(inputs)) > 1:
            message = f"its inputs differ, but are all {format_shape(declared[0])} for samples of the declared size"
            raise ConfigError(Problem("", message))
        if layer.expects_size(keras_shape(declared[0]) if layer.channels_first else declared[0]):
            message = f"it is made for an input of {format_shape(declared[0])}, as the declared size gives it"
            raise ConfigError(Problem("", message))

    def _others(self, node: int, inputs: Sequence[Shape], output: Shape) -> Flags:
        """Which axes of the output count other positions."""
        layer, merged, declared = self._layer(node), self._merged(node), self._declared[node]
        if isinstance(layer, Flatten):
            return (any(merged),)
        if isinstance(layer, GlobalPooling):
            own = _own(layer, merged)
            return _held(layer, (own[0], *(False,) * (len(output) - 1)))
        if isinstance(layer, Permute):
            return _held_flags([_keras_flags(merged)[dim - 1] for dim in layer.dims])
        if isinstance(layer, Dot):
            return self._others_of_dot(layer, node)
        spread = any(merged)
        if isinstance(layer, Reshape) and layer.lists_positions(inputs[0]):
            return (merged[0], *(spread,) * (len(output) - 1))
        if isinstance(layer, Reshape) or len(merged) != len(output):
            return (spread,) * len(output)
        # A window may give as many positions as for the declared size. These then cover the sample likewise.
        pairs = [*zip(self._inputs(node), inputs, strict=True)]
        kept = [all(_keeps(a, declared, i) and _keeps(b, output, i) for a, b in pairs) for i in range(len(output))]
        return tuple(d or (m and k) for d, m, k in zip(_differ(declared, output), merged, kept, strict=True))

    def _others_of_dot(self, layer: Dot, node: int) -> Flags:
        each = [_keras_flags(self._tensors[j].other) for j in self._graph.nodes[node].inputs]
        rests = [
            flag for flags, axis in zip(each, layer.axes, strict=True) for k, flag in enumerate(flags, 1) if k != axis
        ]
        return _held_flags(rests or [False])

    def _merged(self, node: int) -> Flags:
        """The flags of a call's inputs, of all of them together; axes that an input lacks are after the channels."""
        each = [self._tensors[j].other for j in self._graph.nodes[node].inputs]
        rank = max(map(len, each))
        wide = [(*flags[:1], *(False,) * (rank - len(flags)), *flags[1:]) for flags in each]
        return tuple(map(any, zip(*wide, strict=True)))

    def _layer(self, node: int) -> Layer:
        return self._layers[self._graph.layers[self._graph.nodes[node].layer].name]

    def _inputs(self, node: int) -> list[Shape]:
        return [self._declared[j] for j in self._graph.nodes[node].inputs]


def describe_misfit(
    declared: Sequence[Shape], given: Sequence[Shape], find_layer: Callable[[Sequence[Shape]], str | None]
) -> str | None:
    """Why a network does not take inputs of the shapes `given` (C, *spatial), and which it takes; None if it does.

    Args:
        declared: the shapes of the inputs that the network was built for.
        given: one for each input.
        find_layer: which layer does not take inputs of other spatial sizes, in words; None if all do.
    """
    for own, shape in zip(declared, given, strict=True):
        if len(own) != len(shape) or own[0] not in (None, shape[0]):
            return _describe_shapes(own, shape)
    if (misfit := find_layer(given)) is None:
        return None
    number = next(i for i, own in enumerate(declared) if not fits(own, given[i]))

    def takes(shape: Shape) -> bool:
        return find_layer([*given[:number], shape, *given[number + 1 :]]) is None

    sizes = " x ".join(_find_sizes(takes, declared[number], given[number]))
    return f"{_describe_shapes(declared[number], given[number])}. {misfit}. Expected sizes such as {sizes}"


def _describe_shapes(own: Shape, given: Shape) -> str:
    return f"the network takes inputs of shape {format_shape(own)}, channels first, got {format_shape(given)}"


def _find_sizes(takes: Callable[[Shape], bool], declared: Shape, given: Shape) -> list[str]:
    """The nearest sizes to those of `given` (C, *spatial) that a network takes along each axis, in words."""
    known: dict[tuple[int | None, int | None], str] = {}
    for axis, (own, size) in enumerate(zip(declared[1:], given[1:], strict=True), 1):
        if (own, size) in known:
            continue  # networks treat axes alike, and each look at one takes its time

        def fitting(numbers: Iterable[int], axis: int = axis) -> int | None:
            return next((n for n in numbers if takes((*declared[:axis], n, *declared[axis + 1 :]))), None)

        if own is None or size is None or fitting([size]) is not None:
            known[own, size] = "any" if size is None else str(size)
            continue
        below = fitting(range(size - (size % _STEP or _STEP), max(size - _REACH, 0), -_STEP))
        above = fitting(range(size - size % _STEP + _STEP, size + _REACH, _STEP))
        numbers = [n for n in (below, above) if n is not None] or [own]
        known[own, size] = str(numbers[0]) if len(numbers) == 1 else f"({numbers[0]} or {numbers[1]})"
    return [known[pair] for pair in zip(declared[1:], given[1:], strict=True)]


def _differ(declared: Shape, given: Shape) -> Flags:
    """Which sizes differ from the declared ones; sizes that are declared as open never do."""
    return tuple(own is not None and own != size for own, size in zip(declared, given, strict=True))


def _weighted_axes(layer: Layer) -> Sequence[bool]:
    """Along which axes of its input, in the order in which it works on them, the layer has different weights."""
    if isinstance(layer, PReLU):
        return [size > 1 for size in layer.weight.shape]
    dims: tuple[int, ...] = (1,)
    if isinstance(layer, LayerNormalization | Normalization):
        dims = layer.dims
    elif isinstance(layer, BatchNormalization | GroupNormalization):
        dims = (layer.dim,)
    return [dim in dims for dim in range(1, max(dims, default=1) + 1)]


def _own(layer: Layer, flags: Flags) -> Flags:
    """Flags of the axes of a tensor as held, in the order in which the layer works on them."""
    return _keras_flags(flags) if layer.channels_first else flags


def _held(layer: Layer, flags: Flags) -> Flags:
    """The reverse of `_own`."""
    return _held_flags(flags) if layer.channels_first else flags


def _keras_flags(flags: Flags) -> Flags:
    """Flags of (C, *spatial) in the order (*spatial, C)."""
    return (*flags[1:], *flags[:1])


def _held_flags(flags: Sequence[bool]) -> Flags:
    """Flags of (*spatial, C) in the order (C, *spatial)."""
    return (*flags[-1:], *flags[:-1])


def _keeps(before: Shape, after: Shape, axis: int) -> bool:
    return len(before) == len(after) and before[axis] == after[axis]


def _has_positions(shape: Shape) -> bool:
    return any(size != 1 for size in shape[1:])


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(format_shape, shapes))
