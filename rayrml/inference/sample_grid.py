"""A picture of many samples side by side, one pixel of a sample as one pixel of the picture."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from PIL import Image

from rayrml import storage
from rayrml.endings import UNIT, Range
from rayrml.errors import explaining

SIDE = 8  # samples in a row and in a column
NUM_SAMPLES = SIDE * SIDE
_GAP = 2  # black pixels between samples
_CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class SampleDrawing:
    """How a sample becomes a picture of its own.

    Attributes:
        values: what is black and what is white.
    """

    values: Range = UNIT
    kind: ClassVar[str] = "samples"

    def picture(self, sample: np.ndarray) -> Image.Image:
        """A sample (1 or 3, H, W), gray or RGB."""
        shades = _to_bytes(np.asarray(sample, np.float32), self.values)
        return Image.fromarray(shades[0] if len(shades) == 1 else np.ascontiguousarray(shades.transpose(1, 2, 0)))


def can_draw(shape: Sequence[int | None]) -> bool:
    """Whether samples of this shape (C, H, W) are gray or RGB images."""
    return len(shape) == 3 and shape[0] in _CHANNELS


def draw_grid(samples: np.ndarray, values: Range = UNIT) -> Image.Image:
    """The first 64 samples in rows of 8; places without a sample are black.

    Args:
        samples: (n, 1 or 3, H, W), gray or RGB.
        values: what is black and what is white; anything beyond is cut off, and what is not a number is black.
    """
    samples = np.asarray(samples, np.float32)[:NUM_SAMPLES]
    if not can_draw(samples.shape[1:]):
        raise ValueError(f"samples of shape {samples.shape[1:]} are not gray or RGB images")
    _, channels, height, width = samples.shape
    grid = np.zeros((SIDE * (height + _GAP) - _GAP, SIDE * (width + _GAP) - _GAP, channels), np.uint8)
    for number, shades in enumerate(_to_bytes(samples, values).transpose(0, 2, 3, 1)):
        top, left = number // SIDE * (height + _GAP), number % SIDE * (width + _GAP)
        grid[top : top + height, left : left + width] = shades
    return Image.fromarray(grid[:, :, 0] if channels == 1 else grid)


def write_grid(path: str, samples: np.ndarray, values: Range = UNIT) -> None:
    """Write the picture of `draw_grid` as PNG, at once or not at all. Raises DataError if it cannot be written."""
    with explaining(path, "cannot be written"):
        storage.write(path, render_grid(samples, values))


def render_grid(samples: np.ndarray, values: Range = UNIT) -> bytes:
    """The picture of `draw_grid` as PNG."""
    content = io.BytesIO()
    draw_grid(samples, values).save(content, "PNG")
    return content.getvalue()


def _to_bytes(samples: np.ndarray, values: Range) -> np.ndarray:
    low, high = values
    shares = np.nan_to_num((samples - low) / (high - low), nan=0.0)
    return (shares.clip(0, 1) * 255).round().astype(np.uint8)
