"""Operations that are not layers: TensorFlow's in Keras 2, and those of Keras 3's `ops`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.activations import sigmoid
from rayrml.networks.layers.layer import Layer, Shape, format_shape
from rayrml.networks.layers.merging import Concatenate, Elementwise

Operand = float | None


class Operation(Elementwise):
    """An element-wise operation on tensors and constants; `operands` has null for each tensor."""

    def __init__(self, function: Callable[..., Any], *shapes: Shape, operands: tuple[Operand, ...] = ()):
        super().__init__(*shapes)
        if not self.aligned:
            found = " and ".join(map(format_shape, shapes))
            raise ConfigError(Problem("", f"expected inputs with the same number of axes, got {found}"))
        self.function = function
        self.operands = operands or (None,) * len(shapes)
        self._check(len(shapes))

    def _check(self, num_tensors: int) -> None:
        """Raise ConfigError if the function does not take such operands."""
        numbers = _NUM_OPERANDS.get(self.function, (1,))
        if self.operands.count(None) != num_tensors or len(self.operands) not in numbers:
            wanted = f"expected {' or '.join(map(str, numbers))} operands, null for each input"
            message = f"{wanted}, got {num_tensors} inputs and {list(self.operands)}"
            raise ConfigError(Problem("operands", message))
        try:
            self.merge((torch.ones(1),) * num_tensors)
        except (TypeError, ValueError, RuntimeError):
            message = f"cannot be computed with {num_tensors} inputs and operands {list(self.operands)}"
            raise ConfigError(Problem("operands", message)) from None

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The function applied to the tensors and constants, in order."""
        tensors = iter(xs)
        return self.function(*(next(tensors) if operand is None else operand for operand in self.operands))


class Concatenation(Concatenate):
    """The inputs concatenated along the axis that is the last of `operands`."""

    def __init__(self, *shapes: Shape, operands: tuple[int | None, ...]):
        super().__init__(*shapes, axis=operands[-1] or 0)


def maximum(x: torch.Tensor | float, y: torch.Tensor | float) -> torch.Tensor:
    """The larger of two operands, one of which may be a constant."""
    return torch.maximum(*_tensors(x, y))


def minimum(x: torch.Tensor | float, y: torch.Tensor | float) -> torch.Tensor:
    """The smaller of two operands, one of which may be a constant."""
    return torch.minimum(*_tensors(x, y))


def _tensors(x: torch.Tensor | float, y: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
    like = x if isinstance(x, torch.Tensor) else torch.as_tensor(y)
    # A constant is created on the device that needs it: copying it to a GPU would make the CPU wait.
    first, second = (z.to(like.dtype) if isinstance(z, torch.Tensor) else like.new_full((), z) for z in (x, y))
    return first, second


# How many operands each function takes; all others take one.
_NUM_OPERANDS: dict[Callable[..., Any], tuple[int, ...]] = {
    **dict.fromkeys((operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, maximum, minimum), (2,)),
    F.leaky_relu: (1, 2),
    torch.clamp: (3,),
}

# What TensorFlow and Keras 3 call each function.
_FUNCTIONS: dict[Callable[..., Any], tuple[str, ...]] = {
    operator.add: ("tf.math.add", "tf.__operators__.add", "ops.Add"),
    operator.sub: ("tf.math.subtract", "tf.__operators__.sub", "ops.Subtract"),
    operator.mul: ("tf.math.multiply", "tf.__operators__.mul", "ops.Multiply"),
    operator.truediv: ("tf.math.truediv", "tf.math.divide", "ops.TrueDivide", "ops.Divide"),
    operator.pow: ("tf.math.pow", "ops.Power"),
    operator.neg: ("tf.math.negative", "ops.Negative"),
    maximum: ("tf.math.maximum", "ops.Maximum"),
    minimum: ("tf.math.minimum", "ops.Minimum"),
    torch.abs: ("tf.math.abs", "ops.Absolute"),
    torch.exp: ("tf.math.exp", "ops.Exp"),
    torch.log: ("tf.math.log", "ops.Log"),
    torch.sqrt: ("tf.math.sqrt", "ops.Sqrt"),
    torch.square: ("tf.math.square", "ops.Square"),
    torch.tanh: ("tf.math.tanh", "tf.nn.tanh", "ops.Tanh"),
    sigmoid: ("tf.math.sigmoid", "tf.nn.sigmoid", "ops.Sigmoid"),
    F.relu: ("tf.nn.relu", "ops.Relu"),
    F.relu6: ("tf.nn.relu6", "ops.Relu6"),
    F.silu: ("tf.nn.silu", "tf.nn.swish", "ops.Silu"),
    F.elu: ("tf.nn.elu", "ops.Elu"),
    F.selu: ("tf.nn.selu", "ops.Selu"),
    F.gelu: ("tf.nn.gelu",),
    F.leaky_relu: ("tf.nn.leaky_relu",),
    torch.clamp: ("tf.clip_by_value",),
    F.softplus: ("tf.math.softplus", "ops.Softplus"),
}

LAYERS: dict[str, Callable[..., Layer]] = {
    **{name: functools.partial(Operation, function) for function, names in _FUNCTIONS.items() for name in names},
    "ops.Concatenate": Concatenate,
    "tf.concat": Concatenation,
}
