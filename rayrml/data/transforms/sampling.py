"""Resampling by a separate box or linear map for each sample, without a loop over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rayrml.data.image_ops import LARGEST_TABLE, Resampling
from rayrml.tensors import constants, to_floats


def resample_boxes(
    images: torch.Tensor, bounds: torch.Tensor, size: Sequence[int], resampling: Resampling
) -> torch.Tensor:
    """A box of each sample, resized to one size: linear with antialiasing, or by the nearest value.

    Args:
        images: (N, C, *spatial).
        bounds: (N, 2 * axes) all starts of the boxes, then all ends, as shares of each axis: top, left, bottom and
            right for images; or (1, 2 * axes) for all samples.
        size: (*spatial) of the output.
        resampling: how values are interpolated.
    """
    spans = [bounds[:, axis :: len(size)] * old for axis, old in enumerate(images.shape[2:])]
    if resampling == "nearest":
        return _picked(images, spans, size)
    values = to_floats(images)
    for axis in reversed(range(len(size))):
        values = _along(values, axis + 2, spans[axis], size[axis])
    return values


def warp(images: torch.Tensor, maps: torch.Tensor, resampling: Resampling) -> torch.Tensor:
    """Each image transformed by its own linear map; anything outside the image is zero.

    Args:
        images: (N, C, H, W).
        maps: (N, 2, 3), from places (x, y, 1) in the output to places (x, y) in the image, in pixels to the right of
            and below the image's center.
        resampling: how pixels are interpolated.
    """
    floats = to_floats(images)
    height, width = images.shape[2:]
    # torch uses coordinates from -1 to 1 along each axis.
    scale = constants((1, height / width, 2 / width, width / height, 1, 2 / height), maps).view(2, 3)
    grid = F.affine_grid(maps * scale, list(images.shape), align_corners=False)
    # Pixels at the border stay whole: they do not fade into the outside, as they would with zero padding.
    sampled = F.grid_sample(floats, grid, resampling, "border", align_corners=False)
    inside = (grid.abs() <= 1 + 1e-5).all(-1)
    return sampled * inside[:, None]


def mark_rectangles(bounds: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Which pixels are in any of several rectangles of each sample.

    Args:
        bounds: (N, number, 4) top, left, bottom and right in pixels; a pixel belongs if its center is inside.
        size: (height, width) of the images.

    Returns:
        (N, 1, height, width) booleans.
    """
    rows, columns = (torch.arange(n, device=bounds.device) + 0.5 for n in size)
    top, left, bottom, right = bounds[..., None].unbind(-2)
    in_rows = ((rows >= top) & (rows < bottom)).float()
    in_columns = ((columns >= left) & (columns < right)).float()
    return (in_rows.mT @ in_columns > 0)[:, None]


def draw_boxes(
    draws: torch.Tensor, scale: tuple[float, float], ratio: tuple[float, float], aspect: float | torch.Tensor
) -> torch.Tensor:
    """Boxes (N, 4) of random area, shape and place: top, left, bottom and right, as shares of height and width.

    Args:
        draws: (N, 4) random numbers in [0, 1), for area, ratio, row and column.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width by height; a box that is too long is shortened to the image's length.
        aspect: height by width of all images, or of each (N,).
    """
    area, shape, row, column = draws.unbind(1)
    side = (scale[0] + area * (scale[1] - scale[0])).sqrt()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    stretch = ((low + shape * (high - low)).exp() * aspect).sqrt()
    height, width = (side / stretch).clamp(max=1), (side * stretch).clamp(max=1)
    top, left = row * (1 - height), column * (1 - width)
    return torch.stack([top, left, top + height, left + width], 1)


def center_draws(draws: torch.Tensor, amount: float) -> torch.Tensor:
    """Numbers in [0, 1) scaled to [-amount, amount)."""
    return (2 * draws - 1) * amount


def make_maps(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Maps (N, 2, 3) with rows (a, b, 0) and (c, d, 0), from numbers (N,)."""
    zero = torch.zeros_like(a)
    return torch.stack([a, b, zero, c, d, zero], 1).view(-1, 2, 3)


def _picked(images: torch.Tensor, spans: Sequence[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
    """The nearest values, (N, C, *size)."""
    index = [torch.arange(len(images), device=images.device).view(-1, *(1,) * len(size))]
    for axis, (span, old, new) in enumerate(zip(spans, images.shape[2:], size, strict=True)):
        place = _centers(span, new).long().clamp(0, old - 1)
        index.append(place.view(-1, *(1,) * axis, new, *(1,) * (len(size) - axis - 1)))
    return images.movedim(1, -1)[tuple(index)].movedim(-1, 1).contiguous()


def _along(values: torch.Tensor, axis: int, spans: torch.Tensor, new: int) -> torch.Tensor:
    """(N, C, *spatial) with `new` values along one axis: means of those within each sample's span (N, 2)."""
    old = values.shape[axis]
    num_lines = math.prod(values.shape[1:]) // old
    if old * new > LARGEST_TABLE and old > num_lines * _num_neighbours(old, new):
        return _gathered(values.movedim(axis, -1), spans, new).movedim(-1, axis)
    weights = _weights(spans, old, new)
    if axis == values.ndim - 1:
        return (values.reshape(len(values), -1, old) @ weights.mT).view(*values.shape[:-1], new)
    blocks = values.reshape(len(values), math.prod(values.shape[1:axis]), old, -1)
    return (weights[:, None] @ blocks).view(*values.shape[:axis], new, *values.shape[axis + 1 :])


def _gathered(values: torch.Tensor, spans: torch.Tensor, new: int) -> torch.Tensor:
    """(N, ..., old) -> (N, ..., new) like `_weights`; lists of neighbours take less memory for few long lines."""
    old = values.shape[-1]
    spans = spans.double()  # float32 has too few digits for fractions of long axes
    reach = ((spans[:, 1] - spans[:, 0]) / new).clamp(min=1)[:, None, None]
    centers = _centers(spans, new)[:, :, None]
    neighbours = torch.arange(_num_neighbours(old, new), device=values.device)
    places = (centers - reach + 0.5).floor().long() + neighbours
    weights = (1 - (places + 0.5 - centers).abs() / reach).clamp(min=0) * ((places >= 0) & (places < old))
    weights = (weights / weights.sum(2, keepdim=True)).to(values.dtype)
    lines = values.reshape(len(values), -1, old)
    chosen = places.clamp(0, old - 1).flatten(1)[:, None].expand(*lines.shape[:2], -1)
    picked = lines.gather(2, chosen).view(*lines.shape[:2], new, len(neighbours))
    return (picked * weights[:, None]).sum(-1).view(*values.shape[:-1], new)


def _num_neighbours(old: int, new: int) -> int:
    """The largest number of `old` values that contribute to one of `new`."""
    return math.ceil(2 * max(old / new, 1)) + 1


def _centers(spans: torch.Tensor, count: int) -> torch.Tensor:
    """The centers (N, count) of `count` equal parts of the spans (N, 2), which are in values."""
    step = (spans[:, 1:] - spans[:, :1]) / count
    return spans[:, :1] + (torch.arange(count, device=spans.device) + 0.5) * step


def _weights(spans: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """The weight of each of `old` pixels in each of `new`, (N, new, old): a triangle of two steps or two pixels."""
    reach = ((spans[:, 1] - spans[:, 0]) / new).clamp(min=1)[:, None, None]
    pixels = torch.arange(old, device=spans.device) + 0.5
    weights = (1 - (pixels - _centers(spans, new)[:, :, None]).abs() / reach).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)
