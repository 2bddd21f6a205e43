"""Transforms that change values but not their positions."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator

from rayrml.config.json_files import format_value
from rayrml.data import colors, image_ops
from rayrml.data.image_ops import ANY_DIMENSION, Resampling, Shape
from rayrml.data.transforms.sampling import draw_boxes, mark_rectangles
from rayrml.data.transforms.transform import AreaShares, Interval, Probability, Transform, spread_per_sample
from rayrml.errors import ConfigError, Problem
from rayrml.tensors import constants, to_floats


def _positive(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
    if min(value if isinstance(value, tuple) else (value,), default=0) <= 0:
        raise ValueError(f"expected numbers above 0, got {format_value(value)}")
    return value


def _code(value: str) -> str:
    colors.parse_code(value)  # raises ValueError
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalize(Transform):
    """Subtracts `mean` from values (pixels: in [0, 1]) and divides by `std`: one number each, or one per channel."""

    mean: float | tuple[float, ...] = 0.0
    std: Annotated[float | tuple[float, ...], AfterValidator(_positive)] = 1.0
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    changes_masks: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial), of the same shape, as floats."""
        floats = to_floats(images)
        mean, std = (_by_channel(value, floats) for value in (self.mean, self.std))
        return (floats - mean) / std

    def shape(self, shape: Shape) -> Shape:
        """(C, *spatial), unchanged."""
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) not in (1, shape[0]):
                message = f"'{name}' has {len(value)} values, but the number of channels is {shape[0]} here"
                raise ConfigError(Problem("", message))
        return shape

    def room(self) -> float:
        """Normalization and linear interpolation can be swapped."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertColor(Transform):
    """Converts the colours of images by an OpenCV code, such as `BGR2RGB`, on OpenCV's scales for bytes."""

    code: Annotated[str, AfterValidator(_code)]
    reads_pixels: ClassVar[bool] = True
    changes_masks: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, 1 or 3, H, W)."""
        return colors.convert(self.code, to_floats(images) * 255, torch) / 255

    def shape(self, shape: Shape) -> Shape:
        """(1 or 3, H, W)."""
        return colors.convert_shape(self.code, shape)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.ConvertColor:
        """The same operation, by numpy."""
        return image_ops.ConvertColor(self.code)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomErasing(Transform):
    """Sets a random box of images to zero, with a probability; `scale`: share of the area, `ratio`: width by height.

    Masks stay unchanged. Source: arXiv 1708.04896, Algorithm 1.
    """

    probability: Probability = 0.5
    scale: AreaShares = (0.02, 0.33)
    ratio: Interval = (0.3, 3.3)
    num_draws: ClassVar[int] = 5

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        if resampling == "nearest":
            return images
        bounds = draw_boxes(draws[:, 1:], self.scale, self.ratio, images.shape[2] / images.shape[3])
        pixels = bounds * constants((*images.shape[2:], *images.shape[2:]), bounds)
        lost = mark_rectangles(pixels[:, None], images.shape[2:]) & spread_per_sample(draws[:, 0] < self.probability)
        return images.masked_fill(lost, 0)


def _by_channel(value: float | tuple[float, ...], samples: torch.Tensor) -> torch.Tensor | float:
    """`value` in a form that broadcasts with samples (N, C, *spatial)."""
    return constants(value, samples).view(-1, *(1,) * (samples.ndim - 2)) if isinstance(value, tuple) else value


TRANSFORMS = {"normalize": Normalize, "convert_color": ConvertColor, "random_erasing": RandomErasing}
