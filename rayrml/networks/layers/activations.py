"""Activations: by name in other layers, and as separate layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from rayrml.config import names, tables
from rayrml.endings import Ending
from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.initializers import class_and_config
from rayrml.networks.layers.layer import Axes, Layer, Shape, known
from rayrml.networks.layers.layout import held_axis, held_order

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
    """Positive numbers unchanged, others times 0.2."""
    return F.leaky_relu(x, 0.2)


def elu(x: torch.Tensor) -> torch.Tensor:
    """Positive numbers unchanged, others exp(x) - 1. Source: arXiv 1511.07289."""
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
    """0.2 x + 0.5, clipped to [0, 1]."""
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


def hard_sigmoid_keras_3(x: torch.Tensor) -> torch.Tensor:
    """The line x / 6 + 0.5, clipped to [0, 1]: what Keras 3 means by `hard_sigmoid`."""
    return F.hardsigmoid(x)


def hard_silu(x: torch.Tensor) -> torch.Tensor:
    """The product x * min(max(x / 6 + 0.5, 0), 1). Source: arXiv 1905.02244."""
    return F.hardswish(x)


def find_activation(option: Any, key: str = "activation") -> Function:
    """The function for a layer's `activation`: the name of a function, or a layer of this chapter with its config.

    Raises:
        ConfigError: an unknown name, or a layer that has weights.
    """
    name, config = class_and_config(option)
    if isinstance(option, dict) and name == "function":
        name, config = option.get("config"), {}
    if name == "PReLU":
        raise ConfigError(Problem(key, "a layer with weights cannot be an activation. Put it after this layer"))
    if isinstance(option, dict) and isinstance(name, str) and name in LAYERS:
        own = {k: v for k, v in config.items() if k not in ("name", "dtype", "trainable")}
        builder = LAYERS[str(name)]
        return builder((None,), **tables.validate(tables.make_model(builder), own, key, f"{name} takes"))
    return FUNCTIONS[names.find(FUNCTIONS, "linear" if name is None else name, key)]


class Activation(Layer):
    """An activation by name; softmax and log_softmax over `axis`, by default the channels."""

    keeps_numbers = True  # apart from the activation's effect on them

    def __init__(self, shape: Shape, *, activation: Any, axis: int = -1):
        super().__init__()
        self.dim = held_axis(axis, shape)
        self.function = find_activation(activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.dim != 1 and self.function in _OVER_AN_AXIS:
            return _OVER_AN_AXIS[self.function](x, dim=self.dim)
        return self.function(x)


class _Function(Layer):
    """The base of activations without options: the function, applied to every number of the input."""

    function: Function

    def __init__(self, shape: Shape):
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return type(self).function(x)


class Sigmoid(_Function):
    """1 / (1 + exp(-x))."""

    ending = "sigmoid"
    function = staticmethod(sigmoid)


class Tanh(_Function):
    """The hyperbolic tangent."""

    function = staticmethod(tanh)


class Swish(_Function):
    """The product x * sigmoid(x). Source: arXiv 1710.05941."""

    function = staticmethod(silu)


class ReLU(Layer):
    """The input clipped at `max_value` where it is at least `threshold`, else negative_slope * (x - threshold)."""

    def __init__(
        self,
        shape: Shape,
        *,
        max_value: float | None = None,
        negative_slope: float | None = 0.0,
        threshold: float | None = 0.0,
    ):
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope or 0.0, threshold or 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.threshold:
            y = torch.where(x >= self.threshold, x, self.negative_slope * (x - self.threshold))
        else:
            y = F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)
        return y if self.max_value is None else y.clamp(max=self.max_value)


class LeakyReLU(Layer):
    """Positive numbers unchanged, others times `alpha` (which Keras 3 calls `negative_slope`), by default 0.3."""

    def __init__(self, shape: Shape, *, alpha: float = 0.3, negative_slope: float | None = None):
        super().__init__()
        self.slope = alpha if negative_slope is None else negative_slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return F.leaky_relu(x, self.slope)


class PReLU(Layer):
    """Positive numbers unchanged, others times weights, shared along `shared_axes`. Source: arXiv 1502.01852."""

    weight: torch.Tensor

    def __init__(self, shape: Shape, *, shared_axes: tuple[int, ...] | None = None):
        super().__init__()
        shared = {held_axis(axis, shape, "shared_axes") for axis in shared_axes or ()}
        held = tuple(1 if dim in shared else known(size) for dim, size in enumerate(shape, start=1))
        order = held_order(tuple(range(1, len(held) + 1)))
        keras = tuple(held[order.index(i)] for i in range(len(held)))
        self.add_weight("weight", "alpha", keras, axes=order, initializer="zeros")

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's shape."""
        for size, own in zip(shapes[0], self.weight.shape, strict=True):
            if own not in (1, size):
                raise ConfigError(Problem("", f"expected a size of {own}, got {size}"))
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return F.relu(x) - self.weight * F.relu(-x)


class ELU(Layer):
    """Positive numbers unchanged, others alpha * (exp(x) - 1). Source: arXiv 1511.07289."""

    def __init__(self, shape: Shape, *, alpha: float = 1.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return F.elu(x, self.alpha)


class ThresholdedReLU(Layer):
    """Numbers above `theta` unchanged, others 0. Source: arXiv 1402.3337."""

    def __init__(self, shape: Shape, *, theta: float = 1.0):
        super().__init__()
        self.theta = theta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return x * (x > self.theta)


class Softmax(Layer):
    """exp(x), divided by its sum over `axis` (one or several)."""

    ending = "softmax"

    def __init__(self, shape: Shape, *, axis: Axes = -1):
        super().__init__()
        self.dims = tuple(held_axis(a, shape) for a in ((axis,) if isinstance(axis, int) else axis))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if len(self.dims) == 1:
            return F.softmax(x, dim=self.dims[0])
        return torch.exp(x - torch.logsumexp(x, dim=self.dims, keepdim=True))


class LogSoftmax(Layer):
    """The logarithm of the softmax over `axis`."""

    ending = "log_softmax"

    def __init__(self, shape: Shape, *, axis: int = -1):
        super().__init__()
        self.dim = held_axis(axis, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return F.log_softmax(x, dim=self.dim)


_OVER_AN_AXIS = {softmax: F.softmax, log_softmax: F.log_softmax}

# What a function makes of its input, if that tells how to derive class probabilities from it.
ENDINGS: dict[Function, Ending] = {softmax: "softmax", log_softmax: "log_softmax", sigmoid: "sigmoid"}

FUNCTIONS: dict[str, Function] = {
    "linear": linear,
    "relu": relu,
    "relu_v2": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid_keras_3": hard_sigmoid_keras_3,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
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

LAYERS: dict[str, Callable[..., Layer]] = {
    "ReLU": ReLU,
    "LeakyReLU": LeakyReLU,
    "PReLU": PReLU,
    "ELU": ELU,
    "ThresholdedReLU": ThresholdedReLU,
    "Softmax": Softmax,
    "Log_Softmax": LogSoftmax,
    "LogSoftmax": LogSoftmax,
    "Sigmoid": Sigmoid,
    "Tanh": Tanh,
    "Swish": Swish,
}
