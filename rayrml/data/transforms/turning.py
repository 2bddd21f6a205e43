"""Images turned about their middle, in their own size; corners that nothing fills are zero."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from rayrml.data import image_ops
from rayrml.data.image_ops import Resampling
from rayrml.data.transforms.sampling import maps_of, shifted, warp
from rayrml.data.transforms.transform import Transform


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate(Transform):
    """Images turned clockwise by some degrees."""

    degrees: float

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        degrees = torch.full((len(images),), self.degrees, device=images.device)
        return warp(images, turns(degrees), resampling)

    def on_image(self, resampling: Resampling) -> image_ops.Rotate:
        """The same, by Pillow."""
        return image_ops.Rotate(self.degrees, resampling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomRotate(Transform):
    """Images turned by random degrees, at most so many to either side."""

    degrees: Annotated[float, Field(ge=0)]
    num_draws: ClassVar[int] = 1

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        return warp(images, turns(shifted(draws[:, 0], self.degrees)), resampling)


def turns(degrees: torch.Tensor) -> torch.Tensor:
    """The maps (N, 2, 3) that turn images clockwise by `degrees` (N,)."""
    angle = degrees.deg2rad()
    return maps_of(angle.cos(), angle.sin(), -angle.sin(), angle.cos())


TRANSFORMS = {"rotate": Rotate, "random_rotate": RandomRotate}
