"""Where a network's input is in the image that was read: what resizes and crops have done to its axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rayrml.config.sections import SideName
from rayrml.data import image_ops
from rayrml.data.image_ops import crop_window
from rayrml.data.transforms import Transforms, sizing, turning
from rayrml.errors import ConfigError, Problem

_ANY_SIZE = (977, 1409)  # of an image; neither resizes nor crops treat any size in a special way


class SizeChange(NamedTuple):
    """A resize or a crop of samples to a size, which is the same for all of them.

    Attributes:
        crops: whether it crops, or pads, around the center; otherwise it resizes.
        size: a length for each spatial axis.
    """

    crops: bool
    size: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a network's input: the position `u` is at `scale * u + start` in the image.

    Attributes:
        length: of the input, in its pixels.
        scale: of the input's pixels, in the image's.
        start: where the input begins in the image, in its pixels; negative if it was padded.
        low: where the part of the image that the input shows begins.
        high: where it ends.
    """

    length: int
    scale: float
    start: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Where the input begins and ends in the image."""
        return self.start, self.scale * self.length + self.start

    def resized(self, length: int) -> Axis:
        """The same part of the image in `length` pixels."""
        return dataclasses.replace(self, length=length, scale=self.scale * self.length / length)

    def cropped(self, length: int) -> Axis:
        """The middle `length` pixels, or all of them between padding."""
        window = crop_window(self.length, length)
        low, high = (self.scale * end + self.start for end in (window.source.start, window.source.stop))
        start = self.start + self.scale * (window.source.start - window.destination.start)
        return Axis(length, self.scale, start, max(self.low, low), min(self.high, high))

    def enlarged(self, factor: int) -> Axis:
        """The same for an image of `factor` times the size."""
        return Axis(self.length, *(factor * value for value in (self.scale, self.start, self.low, self.high)))


def list_size_changes(transforms: Transforms, side: SideName = "input") -> tuple[SizeChange, ...]:
    """What changes the size of inputs, or targets, in evaluation, in order.

    Raises:
        ConfigError: a transform moves pixels in another way.
    """
    return tuple(_size_changes(transforms, side))


def place_input(size: Sequence[int], changes: Sequence[SizeChange]) -> tuple[Axis, ...]:
    """The axes of the input that these changes make of an image of this size."""
    axes = [Axis(length, 1.0, 0.0, 0.0, float(length)) for length in size]
    for change in changes:
        pairs = zip(axes, change.size, strict=True)
        axes = [axis.cropped(length) if change.crops else axis.resized(length) for axis, length in pairs]
    return tuple(axes)


def show_same(first: Sequence[SizeChange], second: Sequence[SizeChange]) -> bool:
    """Whether two lists of changes leave the same part of each image."""
    pairs = zip(place_input(_ANY_SIZE, first), place_input(_ANY_SIZE, second), strict=True)
    return all(np.allclose(one.ends, other.ends) for one, other in pairs)


def _size_changes(transforms: Transforms, side: SideName) -> Iterator[SizeChange]:
    for where, operation in _evaluation_steps(transforms, side):
        if isinstance(operation, image_ops.Resize | sizing.Resize):
            yield SizeChange(crops=False, size=tuple(operation.size))
        elif isinstance(operation, image_ops.CenterCrop | sizing.CenterCrop):
            yield SizeChange(crops=True, size=tuple(operation.size))
        elif isinstance(operation, image_ops.Letterbox | sizing.Letterbox):
            raise ConfigError(Problem(where, "adds borders to samples, and predictions are not cut out of them"))
        elif isinstance(operation, image_ops.Rotate | turning.Rotate):
            raise ConfigError(Problem(where, "rotates samples, and predictions are not rotated back"))


def _evaluation_steps(transforms: Transforms, side: SideName) -> Iterator[tuple[str, object]]:
    """Each operation that evaluation applies to one side, with its place in the configuration."""
    operations = transforms.input if side == "input" else transforms.target
    yield from operations.steps
    varying = operations.varying
    for step in getattr(varying, "steps", ()):
        if (kept := step.transform.evaluation()) is not None:
            yield step.where, kept
    for step in transforms.batched.evaluation().steps:
        if step.part in (side, "both"):
            yield step.where, step.transform
