"""Activations: by name on other layers, and as layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from rayrml import lookup
from rayrml.layers.initializers import class_and_config
from rayrml.layers.layer import Layer, Shape
from rayrml.layers.layout import held_axis

Function = Callable[..., torch.Tensor]


def linear(x: torch.Tensor) -> torch.Tensor:
    """The identity."""
    return x


def relu(x: torch.Tensor) -> torch.Tensor:
    """max(x, 0)."""
    return F.relu(x)


def relu6(x: torch.Tensor) -> torch.Tensor:
    """min(max(x, 0), 6)."""
    return F.relu6(x)


def leaky_relu(x: torch.Tensor) -> torch.Tensor:
    """Positive numbers as they are, others times 0.2."""
    return F.leaky_relu(x, 0.2)


def elu(x: torch.Tensor) -> torch.Tensor:
    """Positive numbers as they are, others exp(x) - 1. Source: arXiv 1511.07289."""
    return F.elu(x)


def selu(x: torch.Tensor) -> torch.Tensor:
    """The self-normalizing ELU. Source: arXiv 1706.02515."""
    return F.selu(x)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """The exact x * P(X <= x) for a normal X. Source: arXiv 1606.08415."""
    return F.gelu(x)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def hard_sigmoid(x: torch.Tensor) -> torch.Tensor:
    """0.2 x + 0.5, cut to [0, 1]."""
    return torch.clamp(0.2 * x + 0.5, 0, 1)


def tanh(x: torch.Tensor) -> torch.Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """exp(x), divided by its sum over the channels."""
    return F.softmax(x, dim=1)


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    """The logarithm of the softmax over the channels."""
    return F.log_softmax(x, dim=1)


def softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + exp(x))."""
    return F.softplus(x)


def softsign(x: torch.Tensor) -> torch.Tensor:
    """The quotient x / (1 + |x|)."""
    return F.softsign(x)


def silu(x: torch.Tensor) -> torch.Tensor:
    """The product x * sigmoid(x). Source: arXiv 1710.05941."""
    return F.silu(x)


def mish(x: torch.Tensor) -> torch.Tensor:
    """The product x * tanh(softplus(x)). Source: arXiv 1908.08681."""
    return F.mish(x)


def exponential(x: torch.Tensor) -> torch.Tensor:
    """exp(x)."""
    return torch.exp(x)


def activation(option: Any, key: str = "activation") -> Function:
    """The function that a layer's `activation` names.

    Raises:
        ConfigError: an unknown name.
    """
    name = class_and_config(option)[0]
    return FUNCTIONS[lookup.find(FUNCTIONS, "linear" if name is None else name, key)]


class Activation(Layer):
    """An activation by name; softmax and log_softmax over `axis`, by default the channels."""

    def __init__(self, shape: Shape, *, activation: str, axis: int = -1):
        super().__init__()
        self.dim = held_axis(axis, shape)
        self.function = _activation(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.function in _OVER_AN_AXIS:
            return _OVER_AN_AXIS[self.function](x, dim=self.dim)
        return self.function(x)


class ReLU(Layer):
    """The input cut at `max_value` where it is at least `threshold`, and else negative_slope * (x - threshold)."""

    def __init__(
        self, shape: Shape, *, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0
    ):
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.threshold:
            y = torch.where(x >= self.threshold, x, self.negative_slope * (x - self.threshold))
        else:
            y = F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)
        return y if self.max_value is None else y.clamp(max=self.max_value)


class Softmax(Layer):
    """exp(x), divided by its sum over `axis`, or over several axes."""

    def __init__(self, shape: Shape, *, axis: int | tuple[int, ...] = -1):
        super().__init__()
        self.dims = tuple(held_axis(a, shape) for a in ((axis,) if isinstance(axis, int) else axis))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if len(self.dims) == 1:
            return F.softmax(x, dim=self.dims[0])
        return torch.exp(x - torch.logsumexp(x, dim=self.dims, keepdim=True))


# `Activation` has a parameter of the same name.
_activation = activation
_OVER_AN_AXIS = {softmax: F.softmax, log_softmax: F.log_softmax}

FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "softmax_v2": softmax,
    "log_softmax": log_softmax,
    "log_softmax_v2": log_softmax,
    "softplus": softplus,
    "softsign": softsign,
    "swish": silu,
    "silu": silu,
    "mish": mish,
    "exponential": exponential,
}

LAYERS = {
    "ReLU": ReLU,
    "Softmax": Softmax,
}
