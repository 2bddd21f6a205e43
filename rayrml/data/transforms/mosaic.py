"""Images put together from four images of a batch, with the boxes of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import torch

from rayrml.boxes.batch import Boxes, join_images
from rayrml.data.image_ops import GRAY
from rayrml.data.transforms.mixing import PairTransform, Targets
from rayrml.data.transforms.moving import move_boxes, stretch
from rayrml.data.transforms.sampling import mark_rectangles, resample_boxes
from rayrml.data.transforms.transform import Probability
from rayrml.tensors import to_floats

Images = tuple[torch.Tensor, Boxes]
OTHERS = 3  # images of which parts come into an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mosaic(PairTransform):
    """Puts images and three others of the batch around a random point, on gray, with a given probability; for boxes.

    Each of them fills one quarter of the plane, scaled by a factor of its own from [0.5, 1], with a corner at the
    point, which is drawn from the middle half of the image both ways; what lies outside the image is cut off. In a
    batch of one image nothing happens. Source: arXiv 2004.10934, section 3.3.
    """

    probability: Probability
    num_draws: ClassVar[int] = 8  # whether, the key of the partners, row and column of the point, four factors
    reads_pixels: ClassVar[bool] = True
    targets: ClassVar[tuple[Targets, ...]] = ("boxes",)
    needs_target: ClassVar[bool] = True

    def tile(self, own: Images, partners: Sequence[Images], draws: torch.Tensor) -> Images:
        """Images (N, C, H, W) and their boxes, of the same shape, from `OTHERS` partners for each of them.

        Boxes and `draws` are on the CPU.
        """
        images, boxes = own
        chosen, rest = (
            (draws[:, 0] < self.probability).nonzero()[:, 0],
            (draws[:, 0] >= self.probability).nonzero()[:, 0],
        )
        if not len(chosen) or not partners:
            return own
        tiles = [(pixels[chosen.to(images.device)], some.select(chosen)) for pixels, some in (own, *partners)]
        mixed, mixed_boxes = _put_together(tiles, draws[chosen, 2:].double())
        whole = to_floats(images).clone()
        whole[chosen.to(images.device)] = mixed
        places = torch.cat([chosen, rest]).argsort()
        return whole, join_images([mixed_boxes, boxes.select(rest)]).select(places)


def _put_together(tiles: Sequence[Images], draws: torch.Tensor) -> Images:
    """Images (N, C, H, W) from those of all tiles, around points (2 draws) and with factors (a draw for each tile)."""
    size = torch.tensor(tiles[0][0].shape[2:])
    sizes, point = size.expand(len(draws), -1), (0.25 + draws[:, :2] / 2) * size
    canvas = torch.full_like(to_floats(tiles[0][0]), GRAY / 255)
    moved: list[Boxes] = []
    for number, (images, boxes) in enumerate(tiles):
        after = torch.tensor([number // 2, number % 2]).bool()  # below the point, and to its right
        factor = 0.5 + draws[:, 2 + number, None] / 2
        starts = torch.where(after, point, point - factor * size)
        ends = torch.where(after, point + factor * size, point)
        _paste(images, (starts, ends), after, canvas)
        moved.append(move_boxes(boxes, stretch(factor.expand(-1, 2), starts, sizes, crops=True)))
    return canvas, _join_tiles(moved)


def _paste(
    images: torch.Tensor, places: tuple[torch.Tensor, torch.Tensor], after: torch.Tensor, canvas: torch.Tensor
) -> None:
    """Draw images, resized, between the places (N, 2) of their top left and bottom right corners into `canvas`.

    Only the part of the canvas is computed that a tile can reach: up to three quarters, or from a quarter on.
    """
    starts, ends = places
    size = torch.tensor(canvas.shape[2:])
    low, high = torch.where(after, size // 4, 0), torch.where(after, size, (3 * size + 3) // 4)
    part = canvas[:, :, *(slice(*bounds) for bounds in zip(low.tolist(), high.tolist(), strict=True))]
    bounds = torch.cat([low - starts, high - starts], 1) / (ends - starts).repeat(1, 2)  # of the part, in the image
    pixels = resample_boxes(images, bounds.to(images.device, torch.float32), part.shape[2:], "bilinear")
    inside = mark_rectangles(torch.cat([starts - low, ends - low], 1).to(canvas)[:, None], part.shape[2:])
    part.copy_(torch.where(inside, pixels, part))


def _join_tiles(tiles: Sequence[Boxes]) -> Boxes:
    """The boxes of each image's tiles together."""
    count = len(tiles[0])
    order = torch.arange(count * len(tiles)).view(len(tiles), count).T.flatten()
    boxes = join_images(tiles).select(order)
    return dataclasses.replace(boxes, starts=boxes.starts[:: len(tiles)])


TRANSFORMS = {"mosaic": Mosaic}
