"""Samples with other values at the same places."""

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
    """Values, of pixels in [0, 1], less `mean` and over `std`: a number each, or one for each channel."""

    mean: float | tuple[float, ...] = 0.0
    std: Annotated[float | tuple[float, ...], AfterValidator(_positive)] = 1.0
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial), of the same shape, as floats."""
        floats = to_floats(images)
        mean, std = (_by_channel(value, floats) for value in (self.mean, self.std))
        return (floats - mean) / std

    def shape(self, shape: Shape) -> Shape:
        """(C, *spatial), as it is."""
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) not in (1, shape[0]):
                message = f"'{name}' is for samples of {len(value)} channels, but they have {shape[0]} here"
                raise ConfigError(Problem("", message))
        return shape

    def room(self) -> float:
        """Linear interpolation of normalized values is that of pixels, normalized."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertColor(Transform):
    """Images in the other colours that one of OpenCV's codes names, such as `BGR2RGB`, on its scales for bytes."""

    code: Annotated[str, AfterValidator(_code)]
    reads_pixels: ClassVar[bool] = True
    recolors_masks: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, 1 or 3, H, W)."""
        return colors.convert(self.code, to_floats(images) * 255, torch) / 255

    def shape(self, shape: Shape) -> Shape:
        """(1 or 3, H, W)."""
        return colors.convert_shape(self.code, shape)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.ConvertColor:
        """The same, by numpy."""
        return image_ops.ConvertColor(self.code)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomErasing(Transform):
    """Images that lose a random box, with a probability; `scale` is its share of the area, `ratio` width by height.

    What is lost is zero. Masks stay whole. Source: arXiv 1708.04896, Algorithm 1.
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
    """`value` as it goes with samples (N, C, *spatial)."""
    return constants(value, samples).view(-1, *(1,) * (samples.ndim - 2)) if isinstance(value, tuple) else value


TRANSFORMS = {"normalize": Normalize, "convert_color": ConvertColor, "random_erasing": RandomErasing}
