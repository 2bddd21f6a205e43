"""The shapes of a network's tensors, followed from layer to layer without computing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rayrml.errors import ConfigError, Problem
from rayrml.networks.graph import Graph, LayerSpec
from rayrml.networks.layers.layer import Layer, Shape, expect_countable, format_shape

_OUTPUT = "its output for one sample,"


class Companion(Protocol):
    """Looks at each call of a layer while shapes are followed."""

    def before(self, node: int, inputs: Sequence[Shape]) -> None:
        """Look at a call's inputs. Raises ConfigError if the layer must not be given them."""
        ...

    def after(self, node: int, inputs: Sequence[Shape], output: Shape) -> None:
        """Look at what the call returns. Raises ConfigError if it must not."""
        ...


def follow_shapes(
    graph: Graph, layers: Mapping[str, Layer], given: Sequence[Shape], companion: Companion | None = None
) -> list[Shape]:
    """The shapes, as held, of all nodes' tensors for inputs of the shapes `given`, as held.

    Raises:
        ConfigError: a layer cannot take what the preceding layers make of such inputs; it is named with its place.
    """
    inputs_of = dict(zip(graph.inputs, given, strict=True))
    shapes: list[Shape] = []
    for i, node in enumerate(graph.nodes):
        if i in inputs_of:
            shapes.append(tuple(inputs_of[i]))
            continue
        layer, inputs = graph.layers[node.layer], [shapes[j] for j in node.inputs]
        try:
            if companion is not None:
                companion.before(i, inputs)
            shapes.append(layers[layer.name].result_shape(*inputs))
            expect_countable(shapes[-1], _OUTPUT)
            if companion is not None:
                companion.after(i, inputs, shapes[-1])
        except ConfigError as error:
            raise ConfigError(*(locate(layer, p, inputs) for p in error.problems)) from None
    return shapes


def locate(layer: LayerSpec, problem: Problem, shapes: Sequence[Shape] = ()) -> Problem:
    """A layer's problem with the layer's place and name, and the shapes of its inputs if they are known."""
    where = f"{layer.where}.config.{problem.where}" if problem.where else layer.where
    on = f" on {' and '.join(map(format_shape, shapes))}" if shapes else ""
    return Problem(where, f"{layer.class_name} '{layer.name}'{on}: {problem.message}")


def fits(own: Sequence[int | None], given: Sequence[int | None]) -> bool:
    """Whether a tensor of the shape `given` is one of the shape `own`, in which sizes may be open."""
    return len(own) == len(given) and all(a in (None, b) for a, b in zip(own, given, strict=True))


def open_differing(*shapes: Shape) -> Shape:
    """The shape that all of `shapes`, of the same rank, are of: sizes in which they differ are open."""
    return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True))
