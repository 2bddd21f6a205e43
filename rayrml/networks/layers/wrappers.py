"""Layers around other layers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Layer, Shape, format_shape

BY_STEP = "TimeDistributed"
INNER = "layer"  # key of the JSON, and attribute


class TimeDistributed(Layer):
    """The layer `layer`, applied to each step of the first axis after the batch, always with the same weights.

    Its weights are those of the inner layer, which Keras's files name like weights of the wrapper itself. A model
    inside it is taken apart when its JSON is read: each of its layers is then inside one of these.

    Attributes:
        layer: the inner layer.
    """

    layer: Layer

    def __init__(self, *shapes: Shape, layer: Any):
        """Build the inner layer from its choice, `layer`, for one step of inputs of these shapes."""
        super().__init__()
        self.layer = layer.build(*map(_step, shapes))
        if self.layer.activity is not None:
            raise ConfigError(Problem(INNER, "regularizes its outputs. Expected 'activity_regularizer' around it"))
        self.weights = tuple(weight.moved(f"{INNER}.") for weight in self.layer.weights)

    def output_shape(self, *shapes: Shape) -> Shape:
        """(C', T, *spatial') for the inner layer's (C', *spatial')."""
        channels, *rest = self.layer.result_shape(*map(_step, shapes))
        return (channels, shapes[0][1], *rest)

    def expects_size(self, shape: Shape) -> bool:
        """Whether the inner layer does."""
        return self.layer.expects_size(_step(shape))

    def freeze(self) -> None:
        """Train nothing, as the inner layer does without training."""
        super().freeze()
        self.layer.freeze()

    def fix_mode(self, mode: bool) -> None:
        """Keep the inner layer in this mode regardless of the network's."""
        self.layer.fix_mode(mode)
        super().fix_mode(mode)

    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        """(N, C, T, *spatial) -> (N, C', T, *spatial')."""
        num_samples, num_steps = xs[0].shape[0], xs[0].shape[2]
        y = self.layer(*(x.movedim(2, 1).flatten(0, 1) for x in xs))
        return y.unflatten(0, (num_samples, num_steps)).movedim(1, 2)

    def __getattr__(self, name: str) -> Any:
        """An attribute; with a dot in its name, one of the inner layer, as weights are named."""
        return operator.attrgetter(name)(self) if "." in name else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; with a dot in its name, one of the inner layer."""
        outer, _, inner = name.partition(".")
        if inner:
            setattr(getattr(self, outer), inner, value)
        else:
            super().__setattr__(name, value)


def unwrapped(layer: Layer) -> Layer:
    """The innermost layer."""
    return unwrapped(layer.layer) if isinstance(layer, TimeDistributed) else layer


def _step(shape: Shape) -> Shape:
    """The shape of one step. Raises ConfigError if there is no axis of steps."""
    if len(shape) < 2:
        message = f"expected an input with an axis of steps and channels, got shape {format_shape(shape)}"
        raise ConfigError(Problem("", message))
    return (shape[0], *shape[2:])


LAYERS: dict[str, Callable[..., Layer]] = {BY_STEP: TimeDistributed}
