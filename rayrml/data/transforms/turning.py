"""Rotations of samples about their center, keeping their size; corners left empty are zero."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, Field

from rayrml.config.json_files import format_value
from rayrml.data import image_ops
from rayrml.data.image_ops import Resampling, Shape
from rayrml.data.transforms.moving import Motion, map_around_center
from rayrml.data.transforms.sampling import center_draws, make_maps, warp
from rayrml.data.transforms.transform import Transform, spread_per_sample
from rayrml.errors import ConfigError, Problem


def _axes(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2 or value[0] == value[1]:
        message = "expected two different axes, such as [0, 1], or [-2, -1] for the last two"
        raise ValueError(f"{message}, got {format_value(value)}")
    return tuple(value)


Axis = Annotated[int, Field(ge=-3, le=2)]
Axes = Annotated[tuple[Axis, Axis], BeforeValidator(_axes)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate(Transform):
    """Rotates images clockwise by this many degrees."""

    degrees: float

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        degrees = torch.full((len(images),), self.degrees, device=images.device)
        return warp(images, make_turns(degrees), resampling)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """A turn about the middle of each image."""
        degrees = torch.full((len(sizes),), self.degrees, dtype=torch.float64)
        return map_around_center(make_turns(degrees), sizes)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.Rotate | None:
        """The same operation, by Pillow, which needs pixels."""
        return image_ops.Rotate(self.degrees, resampling) if pixels else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomRotate(Transform):
    """Rotates images by a random angle of at most this many degrees in either direction."""

    degrees: Annotated[float, Field(ge=0)]
    num_draws: ClassVar[int] = 1

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        return warp(images, make_turns(center_draws(draws[:, 0], self.degrees)), resampling)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """A turn about the middle of each image."""
        return map_around_center(make_turns(center_draws(draws[:, 0], self.degrees).double()), sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomRotate90(Transform):
    """Rotates samples by 0, 90, 180 or 270 degrees, equally likely, in the plane of two spatial `axes` of equal length.

    Axes are numbered from 0 for the first spatial axis, or backwards from -1 for the last.
    """

    axes: Axes = (-2, -1)
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)
    num_draws: ClassVar[int] = 1

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        plane = [axis if axis < 0 else axis + 2 for axis in self.axes]
        quarters = spread_per_sample((draws * 4).floor(), images.ndim)
        turned = images
        for number in (1, 2, 3):
            turned = torch.where(quarters == number, images.rot90(number, plane), turned)
        return turned

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """Quarters of a turn about the middle of each image, which is square."""
        quarters = (draws[:, 0] * 4).long()
        if self.axes[0] in (-1, 1):  # from columns to rows, which is clockwise
            quarters = -quarters % 4
        turns = torch.tensor([[1, 0, 0, 1], [0, -1, 1, 0], [-1, 0, 0, -1], [0, 1, -1, 0]], dtype=torch.float64)
        maps = torch.cat([turns[quarters].view(-1, 2, 2), torch.zeros(len(sizes), 2, 1)], 2)
        return dataclasses.replace(map_around_center(maps, sizes), crops=False)

    def shape(self, shape: Shape) -> Shape:
        """(C, *spatial), unchanged."""
        spatial = shape[1:]
        count = len(spatial)
        places = [axis + count if axis < 0 else axis for axis in self.axes]
        if not all(0 <= place < count for place in places) or places[0] == places[1]:
            expected = f"Expected two different axes from 0 to {count - 1}"
            raise ConfigError(Problem("", f"samples have no plane of axes {list(self.axes)} here. {expected}"))
        lengths = [spatial[place] for place in places]
        if lengths[0] != lengths[1]:
            message = f"needs axes of equal length, but axes {places} have lengths {lengths[0]} and {lengths[1]} here"
            raise ConfigError(Problem("", f"{message}. Expected a resize or crop before it that makes them equal"))
        return shape


def make_turns(degrees: torch.Tensor) -> torch.Tensor:
    """The maps (N, 2, 3) that rotate images clockwise by `degrees` (N,)."""
    angle = degrees.deg2rad()
    return make_maps(angle.cos(), angle.sin(), -angle.sin(), angle.cos())


TRANSFORMS = {"rotate": Rotate, "random_rotate": RandomRotate, "random_rotate_90": RandomRotate90}
