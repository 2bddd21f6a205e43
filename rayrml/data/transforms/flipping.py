"""Images flipped at random."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from rayrml.data.image_ops import Resampling
from rayrml.data.transforms.transform import Probability, Transform, per_sample


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Flip(Transform):
    probability: Probability
    num_draws: ClassVar[int] = 1
    axis: ClassVar[int]

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        return torch.where(per_sample(draws < self.probability), images.flip(self.axis), images)

    def room(self) -> float | None:
        """A flipped image resized is a resized image flipped."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomHorizontalFlip(_Flip):
    """Images mirrored left to right, with a probability."""

    axis: ClassVar[int] = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomVerticalFlip(_Flip):
    """Images turned upside down, with a probability."""

    axis: ClassVar[int] = 2


TRANSFORMS = {"random_horizontal_flip": RandomHorizontalFlip, "random_vertical_flip": RandomVerticalFlip}
