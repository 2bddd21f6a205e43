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
from rayrml.networks.layers.layout import held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.merging import Concatenate, Elementwise
from rayrml.tensors import constants

Operand = float | tuple[float, ...] | None  # a number for each channel, or one for all; None for a tensor


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
        lengths = {len(operand) for operand in self.operands if isinstance(operand, tuple)}
        if any(shape[0] != length for shape in shapes for length in lengths):
            found = f"{' and '.join(map(str, sorted(lengths)))} on {' and '.join(map(format_shape, shapes))}"
            raise ConfigError(Problem("operands", f"expected a number for each channel, got {found}"))

    def _check(self, num_tensors: int) -> None:
        """Raise ConfigError if the function does not take such operands."""
        numbers = _NUM_OPERANDS.get(self.function, (1,))
        if self.operands.count(None) != num_tensors or len(self.operands) not in numbers:
            wanted = f"expected {' or '.join(map(str, numbers))} operands, null for each input"
            message = f"{wanted}, got {num_tensors} inputs and {list(self.operands)}"
            raise ConfigError(Problem("operands", message))
        try:
            self.function(*(torch.ones(1) if isinstance(own, tuple | None) else own for own in self.operands))
        except (TypeError, ValueError, RuntimeError):
            message = f"cannot be computed with {num_tensors} inputs and operands {list(self.operands)}"
            raise ConfigError(Problem("operands", message)) from None

    def merge(self, xs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The function applied to the tensors and constants, in order."""
        tensors = iter(xs)
        given = (next(tensors) if operand is None else operand for operand in self.operands)
        return self.function(*(_by_channel(item, xs[0]) if isinstance(item, tuple) else item for item in given))


def _by_channel(numbers: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    """A number for each channel in a form that broadcasts with (N, C, *spatial)."""
    return constants(numbers, like).view(-1, *(1,) * (like.ndim - 2))


class ExpandDims(Layer):
    """The input with an axis of length 1 at the place, in Keras's order, that is the last of `operands`."""

    def __init__(self, shape: Shape, *, operands: tuple[int | None, ...]):
        super().__init__()
        rank, axis = len(shape) + 2, operands[-1] if operands else None
        place = axis if axis is None or axis >= 0 else axis + rank
        if place is None or not 1 <= place < rank:
            raise ConfigError(Problem("operands", f"expected an axis of 1 to {rank - 1}, got {list(operands)}"))
        self.place = place

    def output_shape(self, *shapes: Shape) -> Shape:
        """With one axis more."""
        sizes = keras_shape(shapes[0])
        return held_shape((*sizes[: self.place - 1], 1, *sizes[self.place - 1 :]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C', *spatial')."""
        return to_held(to_keras(x).unsqueeze(self.place))


class Squeeze(Layer):
    """The input without the axes of length 1 that `operands`, in Keras's order, has after its first one."""

    def __init__(self, shape: Shape, *, operands: tuple[int | None, ...]):
        super().__init__()
        rank, axes = len(shape) + 1, [axis for axis in operands if axis is not None]
        self.places = sorted({axis % rank if -rank <= axis < rank else 0 for axis in axes})
        if not axes or 0 in self.places or len(self.places) == rank - 1:
            message = f"expected some, but not all, of the axes 1 to {rank - 1}, got {axes}"
            raise ConfigError(Problem("operands", message))

    def output_shape(self, *shapes: Shape) -> Shape:
        """Without these axes. Raises ConfigError if one of them is longer."""
        sizes = keras_shape(shapes[0])
        if any(sizes[place - 1] not in (1, None) for place in self.places):
            message = f"expected axes of length 1, got {self.places} of {format_shape(sizes)}"
            raise ConfigError(Problem("operands", message))
        return held_shape(tuple(size for place, size in enumerate(sizes, 1) if place not in self.places))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C', *spatial')."""
        return to_held(to_keras(x).squeeze(tuple(self.places)))


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
    "tf.expand_dims": ExpandDims,
    "tf.squeeze": Squeeze,
}
