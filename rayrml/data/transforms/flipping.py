"""Samples flipped at random."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from rayrml.data.image_ops import ANY_DIMENSION, Resampling
from rayrml.data.transforms.moving import Motion, stretch
from rayrml.data.transforms.transform import Probability, Transform, spread_per_sample


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Flip(Transform):
    probability: Probability
    num_draws: ClassVar[int] = 1
    axis: ClassVar[int]

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return torch.where(spread_per_sample(draws < self.probability, images.ndim), images.flip(self.axis), images)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """Rows or columns, mirrored in the images that are flipped."""
        flipped = torch.zeros(len(sizes), 2, dtype=torch.bool)
        flipped[:, self.axis] = draws[:, 0] < self.probability
        return stretch(1 - 2 * flipped.double(), flipped * sizes, sizes)

    def room(self) -> float | None:
        """Flipping and resizing can be swapped."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomHorizontalFlip(_Flip):
    """Flips samples along their last axis, images left to right, with a given probability."""

    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    axis: ClassVar[int] = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomVerticalFlip(_Flip):
    """Flips samples along their second-to-last axis, images upside down, with a given probability."""

    dimensions: ClassVar[tuple[int, ...]] = (2, 3)
    axis: ClassVar[int] = -2


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomDepthFlip(_Flip):
    """Flips volumes along the first of their three axes, with a given probability."""

    dimensions: ClassVar[tuple[int, ...]] = (3,)
    axis: ClassVar[int] = -3

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """Volumes have no boxes. Raises ValueError."""
        raise ValueError("volumes have no boxes")


TRANSFORMS = {
    "random_horizontal_flip": RandomHorizontalFlip,
    "random_vertical_flip": RandomVerticalFlip,
    "random_depth_flip": RandomDepthFlip,
}
