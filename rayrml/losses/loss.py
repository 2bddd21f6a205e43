"""What a row of the loss table builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from rayrml.endings import Ending, probabilities
from rayrml.errors import ConfigError, Problem

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Shape = Sequence[int | None]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A mean loss over a batch, and what it needs to know of outputs and targets.

    Attributes:
        function: (output (N, C, *spatial), target) -> the mean loss, a scalar.
        targets: `labels`: class indices (N,) or (N, *spatial) int64; `arrays`: floats of the output's shape.
        metric: the row of the metrics table that evaluation reports beside the loss, None for none.
        takes: what the numbers of the output have to be, from which follows how they become probabilities of classes;
            None where they stand for no classes.
        weight: target -> what the mean divides by, where that is not the number of samples. Workers weigh their
            parts of a global batch with it, so that the mean is that of the whole batch.
        binary: an output of one channel is the probability of class 1 of two.
        num_classes: channels of the output that the row's arguments demand, None for any number.
        ignore_index: label of the pixels that count neither for the loss nor for the metric.
        accepts_labels: class indices will do too where `targets` is `arrays`.
        accepts_shares: shares of the classes (N, C) will do too where `targets` is `labels`.
        impose: output -> the output with the values that the problem prescribes, None where nothing is prescribed.
            The loss is that of these values, and predictions are to have them.
        shapes: (a sample's output shape, its target shape or None) -> what is wrong with them, None if nothing is; for
            a loss that asks for other shapes than `targets` says. See `misfit`.
    """

    function: Function
    targets: Literal["labels", "arrays"]
    metric: str | None
    takes: Ending | None = None
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None
    binary: bool = False
    num_classes: int | None = None
    ignore_index: int | None = None
    accepts_labels: bool = False
    accepts_shares: bool = False
    impose: Callable[[torch.Tensor], torch.Tensor] | None = None
    shapes: Callable[[Shape, Sequence[int] | None], str | None] | None = None

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of the batch.

        Raises:
            ConfigError: the loss asks for shapes of its own, and these are others.
        """
        misfit = self.shapes(output.shape[1:], target.shape[1:]) if self.shapes else None
        if misfit is not None:
            raise ConfigError(Problem("neural_network.loss.function", misfit))
        return self.function(self.imposed(output), target)

    def imposed(self, output: torch.Tensor) -> torch.Tensor:
        """The output with the values that the problem prescribes, in a new tensor; the output itself without any."""
        return output if self.impose is None else self.impose(output)

    def scores(self, output: torch.Tensor) -> torch.Tensor:
        """What metrics judge: the largest channel, or above 0.5 where there is only one, is the predicted class."""
        # Several channels rank the classes as their probabilities do.
        return output if self.takes is None or output.shape[1] > 1 else probabilities(output, self.takes)

    def classes_of(self, channels: int) -> int:
        """How many classes an output of so many channels tells apart."""
        return 2 if channels == 1 and self.binary else channels

    def misfit(self, output: Shape, target: Sequence[int] | None = None) -> str | None:
        """What is wrong with a sample's output shape (C, *spatial) and target shape, None if the loss can take them.

        Args:
            output: None stands for a size that is not known beforehand.
            target: of class indices without an axis for channels, () for one class a sample; None if not known.
        """
        if self.shapes is not None:
            return self.shapes(output, target)
        channels = output[0] if output else None
        if channels is not None and self.num_classes not in (None, self.classes_of(channels)):
            return f"weight has {self.num_classes} values, but the network's output has {channels} channels"
        if channels == 1 and self.targets == "labels" and not self.binary:
            return "the network's output has one channel, which cannot tell classes apart. Expected one for each class"
        fitting = [output] if self.targets == "arrays" else [output[1:]]
        if self.accepts_labels:
            fitting.append(output[1:])
        return wrong_target(output, target, fitting)


def wrong_target(output: Shape, target: Sequence[int] | None, fitting: Sequence[Shape]) -> str | None:
    """What is wrong with a sample's target shape if it is none of the `fitting` ones, None if it is known to be one."""
    if target is None or any(_alike(shape, target) for shape in fitting):
        return None
    wanted = " or ".join(str(tuple(shape)) for shape in fitting)
    return f"the target has shape {tuple(target)}, but for an output {tuple(output)} the loss needs {wanted}"


def _alike(expected: Shape, shape: Sequence[int]) -> bool:
    return len(expected) == len(shape) and all(e in (None, s) for e, s in zip(expected, shape, strict=True))
