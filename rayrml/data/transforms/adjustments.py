"""Changes of light and colour, by a separate amount for each sample.

Functions take images (N, C, H, W) in [0, 1] and amounts (N,), and return images in [0, 1]; changes of colour leave
one-channel images unchanged.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch.nn import functional as F

from rayrml.data import colors
from rayrml.data.image_ops import Resampling
from rayrml.data.transforms.sampling import center_draws
from rayrml.data.transforms.transform import Transform, spread_per_sample
from rayrml.tensors import constants, to_floats


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorJitter(Transform):
    """Randomly changes light and colour: scales each property by 1 +- its amount and shifts hue by +- its share.

    Masks stay unchanged.
    """

    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    num_draws: ClassVar[int] = 4
    reads_pixels: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        if resampling == "nearest":
            return images
        images = to_floats(images)
        changes = (
            (adjust_brightness, self.brightness),
            (adjust_contrast, self.contrast),
            (adjust_saturation, self.saturation),
        )
        for draw, (change, amount) in zip(draws.unbind(1), changes, strict=False):
            if amount:
                low = max(1 - amount, 0)
                images = change(images, low + draw * (1 + amount - low))
        return adjust_hue(images, center_draws(draws[:, 3], self.hue)) if self.hue else images


def adjust_brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Images with brightness scaled by `factor`: 0 is black, 1 changes nothing."""
    return (images * spread_per_sample(factor)).clamp(0, 1)


def adjust_contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Images with contrast scaled by `factor`: 0 is the mean gray, 1 changes nothing."""
    return _from(_gray(images).mean((1, 2, 3), keepdim=True), images, factor)


def adjust_saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Images with saturation scaled by `factor`: 0 is gray, 1 changes nothing."""
    return images if images.shape[1] != 3 else _from(_gray(images), images, factor)


def adjust_hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Images whose hue is turned by `turn` of a full circle."""
    if images.shape[1] != 3:
        return images
    angle, share, value = colors.to_hsv(images, torch)
    return colors.from_hsv(angle + 6 * turn[:, None, None], share, value, torch)


def adjust_sharpness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Images with sharpness scaled by `factor`: 0 is blurred, 1 changes nothing; border pixels stay unchanged."""
    if min(images.shape[2:]) < 3:
        return images
    channels = images.shape[1]
    kernel = images.new_full((channels, 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel, groups=channels)
    return _from(blurred, images, factor)


def posterize(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Images with fewer shades: the highest `bits` of each channel's 8."""
    step = spread_per_sample(2 ** (8 - bits))
    return (images * 255).round().div(step).floor() * step / 255


def solarize(images: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Images whose values from `threshold` upwards are inverted."""
    return torch.where(images >= spread_per_sample(threshold), 1 - images, images)


def stretch_contrast(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Images with each channel stretched to the range 0 to 1; channels of one value stay unchanged."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def equalize(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Images with the histogram of each channel equalized. Source: Pillow's `ImageOps.equalize`."""
    levels = (images * 255).round().long().flatten(2)
    counts = torch.zeros((*levels.shape[:2], 256), dtype=torch.long, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - last) // 255
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    equal = table.gather(2, levels).view_as(images) / 255
    return torch.where(step[..., None] > 0, equal, images)


def _gray(images: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) shades of gray."""
    if images.shape[1] != 3:
        return images
    return (images * constants((0.299, 0.587, 0.114), images).view(-1, 1, 1)).sum(1, keepdim=True)


def _from(poor: torch.Tensor, images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """`poor` images for a factor of 0, `images` for 1, extrapolated for larger factors."""
    return (poor + spread_per_sample(factor) * (images - poor)).clamp(0, 1)


TRANSFORMS = {"color_jitter": ColorJitter}
