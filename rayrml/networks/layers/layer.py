"""What every row of the layer table builds: a module that knows its output shape and its weights' names in Keras."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, ClassVar

import pydantic
import torch

from rayrml.endings import Ending
from rayrml.errors import ConfigError, Problem
from rayrml.formatting import format_bytes
from rayrml.networks.layers.layout import Shape, held_shape, keras_shape, to_held, to_keras
from rayrml.networks.layers.regularizers import Penalty

Positive = Annotated[int, pydantic.Field(ge=1)]
Axes = int | Annotated[tuple[int, ...], pydantic.Field(min_length=1)]
Rate = Annotated[float, pydantic.Field(ge=0, le=1)]

BYTES_OF_FLOAT = 4
_MOST_NUMBERS = 2**40


@dataclasses.dataclass(frozen=True, slots=True)
class Weight:
    """One weight as Keras knows it, and how the layer holds it.

    Keras's array of `shape` becomes the tensor `attribute` when it is permuted to `axes` and reshaped to `held`.
    `option` is the stem of its keys in the JSON (`kernel` in `kernel_initializer`).
    """

    name: str
    attribute: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    held: tuple[int, ...]
    option: str
    initializer: Any
    trainable: bool

    def moved(self, before: str) -> Weight:
        """The same weight for a layer that has it in another one, `before` which its attribute's name then is."""
        return dataclasses.replace(self, attribute=before + self.attribute)

    def to_torch(self, value: torch.Tensor) -> torch.Tensor:
        """The tensor as the layer holds it, from Keras's."""
        return value.permute(self.axes).reshape(self.held)

    def to_keras(self, value: torch.Tensor) -> torch.Tensor:
        """The tensor as Keras holds it, from the layer's."""
        permuted = tuple(self.shape[axis] for axis in self.axes)
        inverse = tuple(self.axes.index(i) for i in range(len(self.axes)))
        return value.reshape(permuted).permute(inverse)


class Layer(torch.nn.Module):
    """A Keras layer on channels-first tensors.

    A subclass takes the shapes of its inputs by position and the JSON's keys by keyword; it registers its weights with
    `add_weight` in Keras's order and leaves their allocation and initialization to `LayerChoice.initialize`.

    Attributes:
        ending: what every output of the layer is, regardless of its keys; None for most layers.
        keeps_numbers: whether the layer only moves numbers outside training, so that they keep their meaning.
    """

    ending: ClassVar[Ending | None] = None
    keeps_numbers: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.weights: tuple[Weight, ...] = ()
        self.mode: bool | None = None  # the training mode that the JSON fixes
        self.penalties: dict[str, Penalty] = {}  # of the regularized weights, by attribute
        self.activity: Penalty | None = None  # of the outputs
        self.activities: list[torch.Tensor] = []  # its values, scalars, of the calls since they were last taken
        self.channels_first = False

    def output_shape(self, *shapes: Shape) -> Shape:
        """The output shape for inputs of `shapes`; the input's shape unless a subclass overrides this.

        Raises:
            ConfigError: the layer cannot take such inputs.
        """
        return shapes[0]

    def expects_size(self, shape: Shape) -> bool:
        """Whether a layer that is built for an input of `shape` would do something else with other spatial sizes."""
        return False

    def result_shape(self, *shapes: Shape) -> Shape:
        """The shape of what a call on inputs of `shapes` returns, regardless of the layer's data_format."""
        if not self.channels_first:
            return self.output_shape(*shapes)
        return held_shape(self.output_shape(*map(keras_shape, shapes)))

    def take_channels_first(self) -> None:
        """Work on channels-first Keras tensors, which already have the axes that the layer's `forward` expects."""
        self.channels_first = True
        self.register_forward_pre_hook(_inputs_to_keras)
        self.register_forward_hook(_output_to_held)

    def add_weight(
        self,
        attribute: str,
        name: str,
        shape: tuple[int, ...],
        *,
        initializer: Any,
        axes: tuple[int, ...] | None = None,
        held: tuple[int, ...] | None = None,
        option: str | None = None,
        trainable: bool = True,
        present: bool = True,
    ) -> None:
        """Register the tensor `attribute`, which has `name` and `shape` in Keras; as a buffer if it is not trainable.

        The attribute is None if the weight is not `present`. Until it is initialized, it has a shape but no memory.

        Raises:
            ConfigError: it is larger than any machine's memory.
        """
        if not present:
            self.register_parameter(attribute, None)
            return
        axes = axes or tuple(range(len(shape)))
        held = held or tuple(shape[axis] for axis in axes)
        weight = Weight(name, attribute, shape, axes, held, option or name, initializer, trainable)
        self.weights = (*self.weights, weight)
        expect_countable(held, f"its {name}")
        tensor = torch.empty(held, device="meta")
        if trainable:
            self.register_parameter(attribute, torch.nn.Parameter(tensor))
        else:
            self.register_buffer(attribute, tensor)

    def penalize_activity(self, penalty: Penalty) -> None:
        """Keep the penalty of each output from now on: the mean over the samples of its batch."""
        if self.activity is None:
            self.register_forward_hook(_keep_activity)
        self.activity = penalty

    def fix_mode(self, mode: bool) -> None:
        """Keep the layer in training (True) or inference (False) mode regardless of the network's mode."""
        self.mode = mode
        self.train(mode)

    def freeze(self) -> None:
        """Exclude all weights from training."""
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Layer:
        """Set the mode, unless the JSON fixes it."""
        return super().train(mode if self.mode is None else self.mode)


def _inputs_to_keras(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(map(to_keras, inputs))


def _output_to_held(_: torch.nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    return to_held(output)


def _keep_activity(layer: Layer, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    if layer.activity is not None and torch.is_grad_enabled():
        layer.activities.append(layer.activity(output.float()) / max(len(output), 1))


def expect_countable(shape: Shape, what: str) -> None:
    """Check that a tensor would fit into some existing machine; torch itself fails at sizes of more than 63 bits.

    Raises:
        ConfigError: a tensor of `shape`, named by `what`, has too many numbers; unknown sizes count as 1.
    """
    count = math.prod(size for size in shape if size is not None)
    if count > _MOST_NUMBERS:
        size = format_bytes(count * BYTES_OF_FLOAT)
        raise ConfigError(Problem("", f"{what} of shape {format_shape(shape)} would take {size} of memory"))


def known(size: int | None) -> int:
    """The size of an axis that weights depend on.

    Raises:
        ConfigError: it is None.
    """
    if size is None:
        raise ConfigError(Problem("", "its weights depend on an unknown size. Declare the shape of the input"))
    return size


def expect_channels(shape: Shape, channels: int) -> None:
    """Check that the input of a repeated call of a layer has as many channels as in the first call.

    Raises:
        ConfigError: it does not.
    """
    if shape[0] != channels:
        raise ConfigError(Problem("", f"expected {channels} input channels, got {shape[0]}"))


def expect_rank(shape: Shape, num_spatial: int) -> None:
    """Check that `shape` is (C, *spatial) with `num_spatial` spatial axes.

    Raises:
        ConfigError: it is not.
    """
    if len(shape) != num_spatial + 1:
        message = f"expected an input with {num_spatial} spatial axes and channels, got shape {format_shape(shape)}"
        raise ConfigError(Problem("", message))


def smallest(shape: Shape) -> tuple[int, ...]:
    """The smallest sizes that a shape allows: 1 where any size is."""
    return tuple(size or 1 for size in shape)


def format_shape(shape: Shape) -> str:
    """A shape in readable form, such as `(3, 28, ?)`, with `?` for any size."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"
