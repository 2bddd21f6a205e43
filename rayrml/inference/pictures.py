"""Pictures of outputs: masks of class numbers, overlays and images, at the size of the image that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image

from rayrml.data.sample_geometry import Axis, SizeChange, place_input
from rayrml.endings import Ending, probabilities
from rayrml.inference.palette import NUM_COLORS, UNKNOWN, class_colors, colors_of

PictureKind = Literal["masks", "pixels"]
_LONGEST = 1600  # side of an overlay in pixels
_CELLS = 2**22  # probabilities that are interpolated at a time
_COMPARED, _NEIGHBOURS = 16, 4  # of more classes, so many are compared between so many neighbours
_DIMMED = 0.3  # brightness of what the network did not see


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How outputs (C, H, W) become pictures.

    Attributes:
        kind: `masks`: each pixel's most probable class; `pixels`: the output itself, in fractions of white.
        ending: what the outputs of masks represent.
        num_classes: of masks; an output of one channel is the probability of class 1 of two.
        classes: their names, () if unknown.
        input_size: (height, width) of the network's inputs.
        changes: what made inputs of this size from images.
    """

    kind: PictureKind
    ending: Ending
    num_classes: int
    classes: tuple[str, ...]
    input_size: tuple[int, int]
    changes: tuple[SizeChange, ...]

    @property
    def unknown(self) -> int:
        """The number in masks of pixels without a prediction."""
        return 255 if self.num_classes <= NUM_COLORS else 65535

    def mask(self, output: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """The class numbers (H, W), uint8 or uint16, for the output (C, h, w) of an image of this size.

        Probabilities are interpolated, not class numbers. Pixels that the network did not see, because they were
        cropped, and those whose output is not a number are `unknown`.
        """
        planes = self._probabilities(output).permute(1, 2, 0).contiguous()
        vertical, horizontal = self._sampling(output.shape[1:], size)
        found = _find_most_probable(planes, vertical, horizontal, self.unknown).numpy()
        mask = np.full(tuple(size), self.unknown, np.uint8 if self.unknown < 256 else np.uint16)
        mask[vertical.inside, horizontal.inside] = found
        return mask

    def image(self, output: np.ndarray, size: Sequence[int]) -> Image.Image:
        """The output (1 or 3, h, w) of an image of this size as a picture.

        It is as large as the image, or as many times larger as outputs are larger than inputs. What the network did not
        see is transparent.
        """
        factor = self.factor(output.shape[1:])
        whole = tuple(factor * length for length in size)
        vertical, horizontal = self._sampling(output.shape[1:], size, factor)
        planes = torch.from_numpy(np.asarray(output, np.float32))
        columns = horizontal.apply(planes.permute(2, 1, 0).contiguous())  # (W, h, C)
        drawn = vertical.apply(columns.transpose(0, 1).contiguous())  # (H, W, C)
        missing = drawn.isnan().any(-1).numpy()
        shades = (drawn.nan_to_num(0).clamp(0, 1) * 255).round().byte().numpy()
        picture = np.zeros((*whole, len(planes) + 1), np.uint8)
        picture[vertical.inside, horizontal.inside] = np.concatenate(
            [shades, np.where(missing, 0, 255).astype(np.uint8)[:, :, None]], axis=2
        )
        opaque = bool((picture[:, :, -1] == 255).all())
        kept = picture[:, :, :-1] if opaque else picture
        return Image.fromarray(np.ascontiguousarray(kept[:, :, 0] if kept.shape[2] == 1 else kept))

    def factor(self, size: Sequence[int]) -> int:
        """How many times larger outputs of this size are than inputs, at least 1."""
        return max(size[0] // self.input_size[0], 1)

    def _probabilities(self, output: np.ndarray) -> torch.Tensor:
        """(classes, h, w) for an output (C, h, w)."""
        values = torch.from_numpy(np.array(output, np.float32))
        # As in the class table: the softmax of log-probabilities is the probabilities.
        ending = "logits" if self.ending == "log_softmax" and len(values) > 1 else self.ending
        found = probabilities(values[None], ending)[0]
        return found if len(found) > 1 else torch.cat([1 - found, found])

    def _sampling(self, output: Sequence[int], size: Sequence[int], factor: int = 1) -> tuple[Sampling, Sampling]:
        """How to sample outputs of this size for an image of `size`, on each axis."""
        axes = [axis.enlarged(factor) for axis in place_input(size, self.changes)]
        first, second = (
            Sampling(axis.resized(own), factor * length) for axis, own, length in zip(axes, output, size, strict=True)
        )
        return first, second


class Sampling:
    """Weighted means of values along one axis, for each pixel of an image that they show.

    They are linear between values; where values are denser than pixels, they are means with triangular weights.

    Attributes:
        inside: the pixels that the values show, n of them.
        taps: (k, n) the values that are averaged for each of them.
        weights: (k, n) float32, their weights.
        group_taps: (k, g) the values of each group of pixels, side by side, with the same values.
        group_of: (n,) the group of each pixel.
        lengths: the number of pixels in each group.
    """

    def __init__(self, axis: Axis, length: int):
        centers = np.arange(length) + 0.5
        shown = np.flatnonzero((centers >= axis.low) & (centers <= axis.high))
        self.inside = slice(int(shown[0]), int(shown[-1]) + 1) if len(shown) else slice(0, 0)
        places = (centers[shown] - axis.start) / axis.scale
        reach = max(1 / axis.scale, 1.0)
        first = max(int(np.floor((axis.low - axis.start) / axis.scale + 1e-6)), 0)
        last = min(int(np.ceil((axis.high - axis.start) / axis.scale - 1e-6)), axis.length) - 1
        nearest = np.floor(places - reach + 0.5).astype(int)
        taps = nearest[None] + np.arange(int(np.ceil(2 * reach)) + 1)[:, None]
        weights = np.clip(1 - np.abs(taps + 0.5 - places) / reach, 0, None) * ((taps >= first) & (taps <= last))
        used = weights.any(1)
        taps, weights = taps[used], weights[used] / weights.sum(0)
        # A value without weight must not count in other ways either.
        taps = np.where(weights > 0, taps, taps[weights.argmax(0), np.arange(len(places))])
        self.taps = torch.from_numpy(taps)
        self.weights = torch.from_numpy(weights.astype(np.float32))
        self.group_taps, self.group_of, lengths = torch.unique_consecutive(
            self.taps, dim=1, return_inverse=True, return_counts=True
        )
        self.lengths: list[int] = lengths.tolist()

    @property
    def groups(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The values (k,) and weights (k, n) of each group of pixels with the same values."""
        return zip(self.group_taps.T, self.weights.split(self.lengths, dim=1), strict=True)

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """(length, ...) -> (n, ...), the means for the pixels `inside`."""
        parts = [values.index_select(0, taps) for taps in self.taps]
        shape = (-1, *(1,) * (values.ndim - 1))
        return torch.stack([part * own.view(shape) for part, own in zip(parts, self.weights, strict=True)]).sum(0)


def _find_most_probable(
    probabilities: torch.Tensor, vertical: Sampling, horizontal: Sampling, unknown: int
) -> torch.Tensor:
    """The classes (H, W) with the largest of the interpolated probabilities (h, w, C), `unknown` if not a number.

    Where all neighbours agree on a class, it is also that of their mean: for most pixels nothing is interpolated.
    """
    best = probabilities.argmax(2).int()
    best[probabilities.isnan().any(2)] = unknown
    found = torch.empty(len(vertical.group_of), len(horizontal.group_of), dtype=torch.int32)
    for own, (row_taps, row_weights) in zip(found.split(vertical.lengths), vertical.groups, strict=True):
        near = best[row_taps][:, horizontal.group_taps].flatten(0, 1)  # (taps, groups of columns)
        own[:] = near[0][horizontal.group_of]
        mixed = torch.nonzero((near != near[0]).any(0))[:, 0]
        values = probabilities[row_taps]
        for groups in mixed.split(max(_CELLS // values[:, :1].numel() // len(horizontal.taps), 1)):
            columns, classes = _compare(values, row_weights, horizontal, groups)
            own[:, columns] = classes.masked_fill(classes < 0, unknown)
    return found


def _compare(
    values: torch.Tensor, row_weights: torch.Tensor, horizontal: Sampling, groups: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns (n,) in these groups, and the most probable classes (rows, n) in them, -1 if not a number.

    Of more than 16 classes, those with the largest probabilities of any neighbour are compared. Four neighbours have
    room for 16 probabilities of at most 1/4: no other class can have more than that.

    Args:
        values: (k, w, C) probabilities, in the rows that are averaged.
        row_weights: (k, rows) their weights.
        horizontal: how columns are averaged.
        groups: (g,) groups of columns with the same neighbours.
    """
    near = values[:, horizontal.group_taps[:, groups]]  # (k, l, g, C)
    chosen = None
    if near.shape[-1] > _COMPARED and near.shape[:2].numel() <= _NEIGHBOURS:
        chosen = near.amax((0, 1)).topk(_COMPARED, sorted=False).indices.sort().values
        near = near.gather(3, chosen.expand(*near.shape[:2], -1, -1))
    place = torch.full((horizontal.group_taps.shape[1],), -1)
    place[groups] = torch.arange(len(groups))
    places = place[horizontal.group_of]
    columns = torch.nonzero(places >= 0)[:, 0]
    places = places[columns]
    weights = horizontal.weights[:, columns, None]
    across = torch.stack([near[:, tap, places] * own for tap, own in enumerate(weights)]).sum(0)  # (k, n, C)
    most, classes = torch.einsum("kr,knc->rnc", row_weights, across).max(2)
    if chosen is not None:
        classes = chosen[places].expand(len(classes), -1, -1).gather(2, classes[..., None])[..., 0]
    return columns, classes.int().masked_fill_(most.isnan(), -1)


def encode_mask(mask: np.ndarray) -> Image.Image:
    """A mask (H, W) as a picture: of 8 bits with a palette, or of 16 bits."""
    picture = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        colors = np.full((256, 3), UNKNOWN, np.uint8)
        colors[:NUM_COLORS] = class_colors()
        picture.putpalette(colors.tobytes())
    return picture


def draw_overlay(image: np.ndarray, mask: np.ndarray, unknown: int) -> Image.Image:
    """An image (H, W, 3) uint8 with the colors of its mask (H, W), half transparent, at most 1600 pixels long.

    Class 0, mostly the background, has no color; pixels that the network did not see are dark.
    """
    shown = Image.fromarray(image)
    if max(shown.size) > _LONGEST:
        shown.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX, reducing_gap=2.0)
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new)
            for old, new in zip(mask.shape, (shown.height, shown.width), strict=True)
        )
        mask = mask[rows[:, None], columns[None]]
    pixels = np.array(shown)
    colored = (mask != 0) & (mask != unknown)
    # Over shades of gray, colors keep their hue.
    gray = np.asarray(shown.convert("L"))[colored].astype(np.uint16)
    pixels[colored] = (gray[:, None] + colors_of(mask[colored]) + 1) // 2
    dark = mask == unknown
    pixels[dark] = (pixels[dark] * _DIMMED).astype(np.uint8)
    return Image.fromarray(pixels)
