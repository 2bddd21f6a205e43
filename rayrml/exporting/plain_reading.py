"""From an image file to the input of an exported network, with nothing but Pillow, numpy and the file's metadata.

It is written anew on purpose: what it gives is compared with what the readers and transforms of rayrml give.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Pixels = np.ndarray  # (H, W, C) float32
_GRAY = 114
_DEEP = ("I", "F")  # modes of more than 8 bits


def read_pixels(content: bytes, metadata: Mapping[str, Any]) -> np.ndarray | None:
    """(H, W, C) uint8, None for files of more than 8 bits. Raises what Pillow raises for damaged files."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode.startswith(_DEEP):
            return None
        upright = ImageOps.exif_transpose(image)
        gray = metadata["preprocessing"]["colors"] == "gray"
        pixels = np.asarray(upright.convert("L" if gray else "RGB"))
    return pixels[:, :, None] if gray else pixels


def can_prepare(metadata: Mapping[str, Any]) -> bool:
    """Whether all steps are known here."""
    steps = metadata["preprocessing"]["steps"]
    return all(name in _STEPS for step in steps for name in step)


def to_input(pixels: np.ndarray, metadata: Mapping[str, Any]) -> np.ndarray:
    """(1, C, H, W) float32 for pixels (H, W, C), after all steps."""
    found = pixels.astype(np.float32)
    for step in metadata["preprocessing"]["steps"]:
        ((name, value),) = step.items()
        found = _STEPS[name](found, value)
    return np.ascontiguousarray(found.transpose(2, 0, 1)[None], np.float32)


def _resize(pixels: Pixels, size: Sequence[int]) -> Pixels:
    height, width = size
    channels = [Image.fromarray(pixels[:, :, i]) for i in range(pixels.shape[2])]
    resized = [np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) for image in channels]
    return np.stack(resized, 2).round()


def _center_crop(pixels: Pixels, size: Sequence[int], fill: float = 0) -> Pixels:
    for axis, new in enumerate(size):
        old = pixels.shape[axis]
        if old >= new:
            first = round((old - new) / 2)
            pixels = np.take(pixels, range(first, first + new), axis)
        else:
            before = (new - old) // 2
            around = [(0, 0)] * 3
            around[axis] = (before, new - old - before)
            pixels = np.pad(pixels, around, constant_values=fill)
    return pixels


def _letterbox(pixels: Pixels, size: Sequence[int]) -> Pixels:
    scale = min(size[0] / pixels.shape[0], size[1] / pixels.shape[1])
    fitted = [max(math.floor(length * scale + 0.5), 1) for length in pixels.shape[:2]]
    return _center_crop(_resize(pixels, fitted), size, _GRAY)


def _divide(pixels: Pixels, value: float) -> Pixels:
    return pixels / np.float32(value)


def _normalize(pixels: Pixels, value: Mapping[str, Any]) -> Pixels:
    return (pixels - np.asarray(value["mean"], np.float32)) / np.asarray(value["std"], np.float32)


_STEPS: dict[str, Callable[[Pixels, Any], Pixels]] = {
    "resize": _resize,
    "center_crop": _center_crop,
    "letterbox": _letterbox,
    "divide": _divide,
    "normalize": _normalize,
}
