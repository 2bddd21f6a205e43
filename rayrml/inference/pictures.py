"""Pictures of outputs: masks of class numbers, overlays and images, at the size of the image that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image

from rayrml.data.sample_geometry import Axis, SizeChange, place_input
from rayrml.endings import Ending, probabilities
from rayrml.inference.palette import NUM_COLORS, UNKNOWN, class_colors, colors_of

PictureKind = Literal["masks", "pixels"]
_LONGEST = 1600  # side of an overlay in pixels
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
        planes = self._probabilities(output)
        vertical, horizontal = self._sampling(output.shape[1:], size)
        # Plane by plane: two hundred classes of a large photo would not fit into memory together.
        best = horizontal.apply(vertical.apply(planes[0], 0), 1)
        found, nowhere = torch.zeros(best.shape, dtype=torch.int32), best.isnan()
        for number, plane in enumerate(planes[1:], 1):
            values = horizontal.apply(vertical.apply(plane, 0), 1)
            better = values > best
            best = torch.where(better, values, best)
            found.masked_fill_(better, number)
            nowhere |= values.isnan()
        dtype = np.uint8 if self.unknown < 256 else np.uint16
        mask = np.full(tuple(size), self.unknown, dtype)
        mask[vertical.inside, horizontal.inside] = found.masked_fill_(nowhere, self.unknown).numpy()
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
        drawn = torch.stack([horizontal.apply(vertical.apply(plane, 0), 1) for plane in planes], -1)
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
        inside: the pixels that the values show.
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
        weights = weights / weights.sum(0)
        self._taps = torch.from_numpy(taps.clip(first, last)[used])
        self._weights = torch.from_numpy(weights[used].astype(np.float32))

    def apply(self, plane: torch.Tensor, axis: int) -> torch.Tensor:
        """(h, w) -> the same with one value for each pixel along `axis`."""
        shape = (-1, 1) if axis == 0 else (1, -1)
        total = plane.new_zeros(())
        for taps, weights in zip(self._taps, self._weights, strict=True):
            total = total + plane.index_select(axis, taps) * weights.view(shape)
        return total


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
