"""Images whose pixels are class numbers, as annotation tools write them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from rayrml.data.readers import tiff
from rayrml.data.readers.images import IMAGE_EXTENSIONS, check_pixels, list_pages, open_image
from rayrml.data.readers.reader import Read, Reader

LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")  # formats whose compression may change numbers
_JPEG = ("JPEG", "MPO")
_NEARLY = 32  # shades by which JPEG compression changes black and white
_WHITE = 255
_GRAY_DIFFERENCE = 8  # between the channels of a gray pixel after lossy compression


def masks(*, two_shades: bool = False, pages: tiff.Pages | None = None) -> Reader:
    """Images of one number per pixel: palette indices, 8 or 16 bits of gray, or black and white.

    If there can be only `two_shades`, 0 and 255, the noise of JPEG compression is removed. The `pages` of TIFF files
    are treated like those of images.
    """

    def read(path: str, name: str = "") -> np.ndarray:
        return _read_mask(path, two_shades, pages, name)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: read(path, name)

    contents = list_pages if pages == "samples" else None
    return Reader("masks", opened, None if contents else read, IMAGE_EXTENSIONS, contents=contents)


def _read_mask(path: str, two_shades: bool, pages: tiff.Pages | None, name: str) -> np.ndarray:
    """The numbers (C, H, W) in an image file, upright: uint8, or int32 or float32 where the file has more bits.

    Raises:
        DataError: the file cannot be read, or its pixels are colors.
    """
    with open_image(path) as image:
        check_pixels(*image.size)
        lossy = image.format in LOSSY
        own = [int(name)] if name else tiff.select_pages(tiff.list_own_pages(image), pages)
        parts: list[np.ndarray] = []
        for page in own:
            if page or len(own) > 1:
                image.seek(page)
            parts.append(_read_numbers(ImageOps.exif_transpose(image), lossy))
        numbers = np.stack(parts)
        return _without_noise(numbers) if two_shades and image.format in _JPEG else numbers


def _read_numbers(image: Image.Image, lossy: bool) -> np.ndarray:
    """(H, W) of an image of any mode. Raises ValueError for colors."""
    if image.mode in ("P", "L", "1"):
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("PA", "LA"):
        return np.asarray(image.getchannel(0))
    if image.mode == "I" or image.mode.startswith("I;16"):
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
