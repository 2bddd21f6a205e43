"""How boxes move with the pixels of their images: maps of places, what is cut off, and the way back.

Places are (x, y) in pixels from the top left corner of an image; pixel i covers [i, i + 1). Everything is computed in
float64, without a loop over images or boxes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from rayrml.boxes.batch import Boxes

_LEAST_LENGTH = 2.0  # pixels each way of a box that a crop has left
_LEAST_SHARE = 0.1  # of the area that it would have if nothing had cropped it
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Motion:
    """Where the pixels of some images go.

    Attributes:
        maps: (N, 2, 3) float64, from places (x, y, 1) in each image to places (x, y) in what becomes of it.
        sizes: (N, 2) int64, heights and widths of what becomes of them.
        crops: whether parts of images may be cut off; or (N,) of which images.
    """

    maps: torch.Tensor
    sizes: torch.Tensor
    crops: bool | torch.Tensor = False


def stretch(
    scale: torch.Tensor, shift: torch.Tensor, sizes: torch.Tensor, *, crops: bool | torch.Tensor = False
) -> Motion:
    """Rows and columns stretched by `scale` (N, 2), then shifted by `shift` (N, 2) pixels; negative ones mirror."""
    maps = torch.zeros(len(sizes), 2, 3, dtype=torch.float64)
    maps[:, 0, 0], maps[:, 1, 1] = scale[:, 1], scale[:, 0]
    maps[:, 0, 2], maps[:, 1, 2] = shift[:, 1], shift[:, 0]
    return Motion(maps, sizes, crops)


def enlarge_windows(starts: torch.Tensor, ends: torch.Tensor, sizes: torch.Tensor) -> Motion:
    """A window of each image, from row and column `starts` (N, 2) to `ends`, resized to `sizes` (N, 2)."""
    scale = sizes / (ends.double() - starts.double())
    return stretch(scale, -starts.double() * scale, sizes, crops=True)


def map_around_center(maps: torch.Tensor, sizes: torch.Tensor) -> Motion:
    """What `sampling.warp` does to images of these sizes by `maps` (N, 2, 3)."""
    center = sizes.flip(1).double() / 2
    around = maps.double().clone()
    around[:, :, 2] += center - (around[:, :, :2] @ center[:, :, None])[:, :, 0]
    return Motion(invert(around), sizes, crops=True)


def move_boxes(boxes: Boxes, motion: Motion) -> Boxes:
    """The boxes around the moved corners of boxes, cut at the edges of images.

    After a crop, boxes stay that have at least 2 pixels each way, and a tenth of the area they would have if neither
    this crop nor those before had cut them.
    """
    images = boxes.images
    moved = bound_corners(boxes.corners, motion.maps[images])
    corners = cut_corners(moved, motion.sizes[images])
    if motion.crops is False:
        return boxes.with_corners(corners)
    shares = _areas(corners) / _areas(moved).clamp(min=torch.finfo(torch.float64).tiny)
    if boxes.shares is not None:
        shares *= boxes.shares
    lengths = (corners[:, 2:] - corners[:, :2]).amin(1)
    wanted = (lengths >= _LEAST_LENGTH - _ROUNDING) & (shares >= _LEAST_SHARE - _ROUNDING)
    if isinstance(motion.crops, torch.Tensor):
        wanted |= ~motion.crops[images]
    return dataclasses.replace(boxes, corners=corners, shares=shares).keep(wanted)


def bound_corners(corners: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(M, 4) xmin, ymin, xmax, ymax of the four corners of boxes (M, 4), each moved by its own map (M, 2, 3)."""
    left, top, right, bottom = corners.double()[:, :, None].unbind(1)  # (M, 1)
    of_x, of_y, shift = maps.unbind(2)  # (M, 2)
    # Sums are the least of the least parts: reductions over the four corners would be slow.
    across, down = (of_x * left, of_x * right), (of_y * top, of_y * bottom)
    least = torch.minimum(*across) + torch.minimum(*down) + shift
    return torch.cat([least, torch.maximum(*across) + torch.maximum(*down) + shift], 1)


def cut_corners(corners: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Boxes (M, 4) cut at the edges of images with these heights and widths (M, 2)."""
    return corners.clamp(min=0).minimum(sizes[:, [1, 0, 1, 0]].to(corners))


def join_maps(motions: Iterable[Motion], count: int) -> torch.Tensor:
    """(N, 2, 3) the maps that do one motion of `count` images after the other."""
    whole = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    for motion in motions:
        whole[:, :2] = motion.maps @ whole
    return whole[:, :2]


def invert(maps: torch.Tensor) -> torch.Tensor:
    """(N, 2, 3) the maps that lead back."""
    (a, b), (c, d) = maps[:, 0, :2].unbind(1), maps[:, 1, :2].unbind(1)
    adjugate = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2)
    linear = adjugate / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ maps[:, :, 2:]], 2)


def _areas(corners: torch.Tensor) -> torch.Tensor:
    return (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(1)
