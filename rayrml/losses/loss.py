"""What a row of the loss table builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from rayrml.endings import Ending, probabilities
from rayrml.errors import ConfigError, Problem

Function = Callable[[torch.Tensor, Any], torch.Tensor]
Shape = Sequence[int | None]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A mean loss over a batch, and what it requires of outputs and targets.

    Attributes:
        function: (output (N, C, *spatial), target) -> the mean loss, a scalar.
        targets: `labels`: class indices (N,) or (N, *spatial) int64; `arrays`: floats of the output's shape; `boxes`:
            the true boxes of each image; `noise`: none, the inputs are compared with what is made of random numbers.
        metric: the row of the metric table that evaluation reports along with the loss, None for none; see
            `default_metric`.
        takes: what the output must be, which determines how it is converted to class probabilities; None if it does
            not represent classes.
        weight: target -> the divisor of the mean, if that is not the number of samples. Workers weight their parts of
            a global batch by it, so that the mean is that of the whole batch.
        binary: whether an output of one channel is the probability of class 1 of two.
        num_classes: the number of classes that the row's arguments require, None for any number.
        num_values: the number of channels that the row's arguments require, None for any number.
        ignore_index: the label of pixels that count neither in the loss nor in the metric.
        accepts_labels: whether class indices are accepted too where `targets` is `arrays`.
        accepts_shares: whether shares of the classes (N, C) are accepted too where `targets` is `labels`.
        impose: output -> the output with the values that the problem prescribes; None if it prescribes none. The loss
            is computed from these values, and predictions must have them. Standardized numbers get their unit back.
        shapes: (a sample's output shape, its target shape or None) -> what is wrong with them, None if nothing is; for
            a loss that requires other shapes than `targets` implies. See `misfit`.
        join: the outputs of a network -> one tensor (N, ...) that the function takes; None if the network must have
            one output.
        parts: (output, target) -> the loss, and the terms of which it consists, (T,) means over the batch without their
            weights; None if it is of one piece.
        term_names: what the terms are called in the history.
        term_symbols: what they are called in the line of a batch, () if that shows none.
    """

    function: Function
    targets: Literal["labels", "arrays", "boxes", "noise"]
    metric: str | None
    takes: Ending | None = None
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None
    binary: bool = False
    num_classes: int | None = None
    num_values: int | None = None
    ignore_index: int | None = None
    accepts_labels: bool = False
    accepts_shares: bool = False
    impose: Callable[[torch.Tensor], torch.Tensor] | None = None
    shapes: Callable[[Shape, Sequence[int] | None], str | None] | None = None
    join: Callable[[Any], torch.Tensor] | None = None
    parts: Callable[[torch.Tensor, Any], tuple[torch.Tensor, torch.Tensor]] | None = None
    term_names: tuple[str, ...] = ()
    term_symbols: tuple[str, ...] = ()

    def of_network(self, outputs: Any) -> torch.Tensor:
        """What the loss takes of a network's output or outputs (N, ...): one tensor of float32."""
        return outputs.float() if self.join is None else self.join(outputs)

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of the batch, for outputs as the network gives them.

        Raises:
            ConfigError: the loss requires particular shapes, and these differ.
        """
        self._check(output, target)
        return self.function(self.imposed(output), target)

    def of_imposed(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of the batch, for outputs with the values that the problem prescribes. Raises ConfigError."""
        self._check(output, target)
        return self.function(output, target)

    def _check(self, output: torch.Tensor, target: torch.Tensor) -> None:
        misfit = self.shapes(output.shape[1:], target.shape[1:]) if self.shapes else None
        if misfit is not None:
            raise ConfigError(Problem("neural_network.loss.function", misfit))

    def imposed(self, output: torch.Tensor) -> torch.Tensor:
        """The output with the values that the problem prescribes, in a new tensor; the output itself if none."""
        return output if self.impose is None else self.impose(output)

    def default_metric(self, *, spatial: bool, masks: bool) -> str | None:
        """The row of the metric table that evaluation reports unless another one is requested, None for none.

        Args:
            spatial: the output has positions, such as pixels, and not one class or value per sample.
            masks: the targets are masks.
        """
        if self.metric is None:
            return "dice" if masks and spatial else None
        return "dice" if spatial and self.metric == "accuracy" else self.metric

    def scores(self, output: torch.Tensor) -> torch.Tensor:
        """The input of metrics: the predicted class is the largest channel, or 1 where a probability exceeds 0.5."""
        if self.takes is None:
            return output
        # Several channels rank the classes as their probabilities do; but where a sample may have several classes, each
        # probability is compared with a threshold.
        ranked = output.shape[1] > 1 and not (self.targets == "arrays" and self.binary)
        return output if ranked else probabilities(output, self.takes)

    def classes_of(self, channels: int) -> int:
        """How many classes an output with this many channels distinguishes."""
        return 2 if channels == 1 and self.binary else channels

    def misfit(self, output: Shape, target: Sequence[int] | None = None) -> str | None:
        """What is wrong with a sample's output shape (C, *spatial) and target shape, None if the loss can take them.

        Args:
            output: with None for a size that is not known in advance.
            target: for class indices without a channel axis, () for one class per sample; None if not known.
        """
        if self.targets in ("boxes", "noise"):
            return None  # classes, anchors and strides say which shapes outputs must have
        if self.shapes is not None:
            return self.shapes(output, target)
        channels = output[0] if output else None
        if channels is not None and self.num_classes not in (None, self.classes_of(channels)):
            return f"weight has {self.num_classes} values, but the network's output has {channels} channels"
        if channels is not None and self.num_values not in (None, channels):
            return f"standardize has {self.num_values} values, but the network's output has {channels} channels"
        if channels == 1 and self.targets == "labels" and not self.binary:
            return "the network's output has one channel, which cannot distinguish classes. Expected one per class"
        fitting = [output] if self.targets == "arrays" else [output[1:]]
        if self.accepts_labels:
            fitting.append(output[1:])
        return wrong_target(output, target, fitting)


def wrong_target(output: Shape, target: Sequence[int] | None, fitting: Sequence[Shape]) -> str | None:
    """What is wrong with a sample's target shape; None if it is one of the `fitting` ones or not known."""
    if target is None or any(_alike(shape, target) for shape in fitting):
        return None
    wanted = " or ".join(str(tuple(shape)) for shape in fitting)
    return f"the target has shape {tuple(target)}, but for an output {tuple(output)} the loss needs {wanted}"


def _alike(expected: Shape, shape: Sequence[int]) -> bool:
    return len(expected) == len(shape) and all(e in (None, s) for e, s in zip(expected, shape, strict=True))
