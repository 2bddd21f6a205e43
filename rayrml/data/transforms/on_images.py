"""Transforms of single samples while they are decoded: those before all samples have one size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from rayrml.data.draws import Draws
from rayrml.data.image_ops import ANY_DIMENSION, Resampling, Shape, change_shape
from rayrml.data.transforms.mixing import PairTransform
from rayrml.data.transforms.steps import Step
from rayrml.data.transforms.transform import Transform
from rayrml.data.transforms.values import Normalize
from rayrml.errors import ConfigError, Problem

_ONLY_BATCHES = {PairTransform: "works on whole batches", Normalize: "gives numbers that are not stored as pixels"}
_CURE = "Expected after the resize or crop that makes sizes equal"


@dataclasses.dataclass(frozen=True)
class OnImages:
    """What `steps` do to batches, done to one sample: an operation of `data.image_ops` that may be random.

    Attributes:
        steps: the transforms, none of which needs other samples.
        resampling: how values are interpolated.
        pixels: whether values are pixels: bytes, which stay bytes, or fractions of white.
    """

    steps: tuple[Step, ...]
    resampling: Resampling
    pixels: bool = True
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    @property
    def random(self) -> bool:
        """Whether the result depends on random numbers."""
        return any(step.transform.draws_for(2) for step in self.steps)

    def __call__(self, image: np.ndarray, draws: Draws | None = None, /) -> np.ndarray:
        """The sample (C, *spatial) changed by its random numbers, or as in evaluation without any.

        Raises:
            ConfigError: a transform does not support a sample of this shape.
        """
        given = torch.from_numpy(image if image.flags.writeable else image.copy())
        bytes_of_pixels = self.pixels and image.dtype == np.uint8
        sample = (given if bytes_of_pixels else given.float())[None]
        for step in self.steps:
            transform = step.transform if draws is not None else step.transform.evaluation()
            if transform is not None:
                change_shape(step.where, transform, tuple(sample.shape[1:]))
                sample = transform.change_one(sample, _draw(transform, step, draws, sample.ndim - 2), self.resampling)
        if bytes_of_pixels and sample.is_floating_point():
            sample = (sample * 255).round_()
        return sample[0].numpy().astype(self.dtype(image.dtype), copy=False)

    def shape(self, shape: Shape, /) -> Shape:
        """The output shape (C, *spatial)."""
        for step in self.steps:
            shape = change_shape(step.where, step.transform, shape)
        return shape

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged for pixels and for the nearest values, float32 otherwise."""
        stays = self.resampling == "nearest" or (self.pixels and dtype == np.uint8)
        return dtype if stays else np.dtype(np.float32)


def split_off_single(
    steps: Sequence[Step], resampling: Resampling, pixels: bool
) -> tuple[OnImages | None, Sequence[Step]]:
    """What is done to single samples so that those of different sizes get one size, and the steps that follow it.

    None if no step makes sizes equal.

    Raises:
        ConfigError: a step before that can only be done to batches.
    """
    end = next((number for number, step in enumerate(steps, 1) if step.transform.fixes_size), 0)
    problems = [
        Problem(step.where, f"{reason}, but samples have different sizes here. {_CURE}")
        for step in steps[:end]
        for kind, reason in _ONLY_BATCHES.items()
        if isinstance(step.transform, kind)
    ]
    if problems:
        raise ConfigError(*problems)
    return OnImages(tuple(steps[:end]), resampling, pixels) if end else None, steps[end:]


def _draw(transform: Transform, step: Step, draws: Draws | None, num_axes: int) -> torch.Tensor:
    """(1, number) the random numbers that a sample gets in a batch, too."""
    return transform.draw(1, draws and draws.of(*step.draw), num_axes)
