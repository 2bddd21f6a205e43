"""Images whose pixels are class numbers, as annotation tools write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from rayrml.data.readers.images import IMAGE_EXTENSIONS, check_pixels, is_deep, open_image
from rayrml.data.readers.reader import Read, Reader

LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")  # formats whose compression may change numbers
_JPEG = ("JPEG", "MPO")
_NEARLY = 32  # shades by which JPEG compression changes black and white
_WHITE = 255
_GRAY_DIFFERENCE = 8  # between the channels of a gray pixel after lossy compression


def masks(*, two_shades: bool = False) -> Reader:
    """Images of one number per pixel: palette indices, 8 or 16 bits of gray, or black and white.

    If there can be only `two_shades`, 0 and 255, the noise of JPEG compression is removed.
    """

    def read(path: str) -> np.ndarray:
        return _read_mask(path, two_shades)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: read(path)

    return Reader("masks", opened, read, IMAGE_EXTENSIONS)


def _read_mask(path: str, two_shades: bool) -> np.ndarray:
    """The numbers (1, H, W) in an image file, upright: uint8, or int32 or float32 where the file has more bits.

    Raises:
        DataError: the file cannot be read, or its pixels are colors.
    """
    with open_image(path) as image:
        check_pixels(*image.size)
        numbers = _read_numbers(ImageOps.exif_transpose(image), image.format in LOSSY)
        return (_without_noise(numbers) if two_shades and image.format in _JPEG else numbers)[None]


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


def _without_noise(numbers: np.ndarray) -> np.ndarray:
    """Black and white alone, if compression has blurred an image of these two; other images as they are."""
    white = numbers >= _WHITE - _NEARLY
    two_shades = white.any() and (white | (numbers <= _NEARLY)).all()
    return np.where(white, _WHITE, 0).astype(np.uint8) if two_shades else numbers
