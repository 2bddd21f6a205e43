"""Images whose pixels are class numbers, as annotation tools write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from rayrml.data.readers.images import IMAGE_EXTENSIONS, check_pixels, is_deep, open_image
from rayrml.data.readers.reader import Read, Reader

LOSSY = ("JPEG", "MPO", "WEBP")  # formats whose compression changes numbers, or may
_GRAY_DIFFERENCE = 8  # between the channels of a gray pixel after lossy compression


def masks() -> Reader:
    """Images of one number per pixel: palette indices, 8 or 16 bits of gray, or black and white."""

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: read_mask(path)

    return Reader("masks", opened, read_mask, IMAGE_EXTENSIONS)


def read_mask(path: str) -> np.ndarray:
    """The numbers (1, H, W) in an image file, upright: uint8, or int32 or float32 where the file has more bits.

    Raises:
        DataError: the file cannot be read, or its pixels are colors.
    """
    with open_image(path) as image:
        check_pixels(*image.size)
        return _read_numbers(ImageOps.exif_transpose(image), image.format in LOSSY)[None]


def _read_numbers(image: Image.Image, lossy: bool) -> np.ndarray:
    """(H, W) of an image of any mode. Raises ValueError for colors."""
    if image.mode in ("P", "L", "1"):
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("PA", "LA"):
        return np.asarray(image.getchannel(0))
    if is_deep(image) or image.mode == "I":
        return np.asarray(image).astype(np.int32)
    if image.mode == "F":
        return np.asarray(image)
    colors = np.asarray(image.convert("RGB"))
    difference = int(np.ptp(colors, axis=2).max())
    if difference > (_GRAY_DIFFERENCE if lossy else 0):
        raise ValueError("It is a color image, expected one number per pixel: gray shades or palette indices")
    return colors[:, :, 0]
