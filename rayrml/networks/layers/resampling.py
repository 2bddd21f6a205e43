"""Images and volumes resized with TensorFlow's interpolations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from rayrml.config import names

Resample = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]


def nearest(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(N, C, *spatial) resized to `sizes`; each cell takes the value at the nearest centre."""
    factors = [new // old for new, old in zip(sizes, x.shape[2:], strict=True)]
    if any(new % old for new, old in zip(sizes, x.shape[2:], strict=True)):
        return F.interpolate(x, list(sizes), mode="nearest-exact")
    if all(factor & (factor - 1) == 0 for factor in factors):
        return F.interpolate(x, list(sizes), mode="nearest")
    # torch finds the cell by a product of floats, which can be off by one unless the factor is a power of 2.
    for dim, factor in enumerate(factors, start=2):
        x = x.repeat_interleave(factor, dim) if factor > 1 else x
    return x


def bilinear(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(N, C, H, W) resized to `sizes`, linear between the centres of cells."""
    return F.interpolate(x, list(sizes), mode="bilinear", align_corners=False)


def bicubic(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(N, C, H, W) enlarged to `sizes` by Keys's cubic with a = -1/2, which ignores cells beyond the border.

    Source: Keys 1981, Cubic convolution interpolation.
    """
    return F.interpolate(x, list(sizes), mode="bicubic", align_corners=False, antialias=True)


def bilinear_from_corners(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """(N, C, H, W) resized to `sizes`, linear between the first corners of cells, as in Keras before TensorFlow 2."""
    for dim, size in enumerate(sizes, start=2):
        old = x.shape[dim]
        place = torch.arange(size, device=x.device) * old
        low = place // size
        share = ((place % size) / size).to(x.dtype).view(-1, *(1,) * (x.ndim - 1 - dim))
        first, second = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=old - 1))
        x = first + share * (second - first)
    return x


def resample(name: str, key: str = "interpolation") -> Resample:
    """The interpolation called `name`.

    Raises:
        ConfigError: there is no interpolation of this name.
    """
    return INTERPOLATIONS[names.find(INTERPOLATIONS, name, key)]


INTERPOLATIONS: dict[str, Resample] = {
    "nearest": nearest,
    "bilinear": bilinear,
    "bicubic": bicubic,
    "bilinear_from_corners": bilinear_from_corners,
}
