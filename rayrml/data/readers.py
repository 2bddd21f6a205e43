"""Data types: how the samples of each become arrays.

A row's builder takes its options by keyword and gives a `Reader`. Readers run in Ray Data's tasks, which must start
fast: this module imports neither torch nor torchvision.
"""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from rayrml.errors import DataError, Problem


class Decode(Protocol):
    """What turns a file into one sample."""

    def __call__(self, path: str, /) -> np.ndarray:
        """The sample in the file at `path`: a uint8 array (C, H, W). Raises DataError naming the file."""
        ...


@dataclasses.dataclass(frozen=True)
class Reader:
    """How the files of a data type are recognized and decoded.

    Attributes:
        extensions: endings of the files that belong to the type, in lower case.
        decode: the file at a path -> array (C, H, W).
        noun: what a sample is called in messages.
    """

    extensions: frozenset[str]
    decode: Callable[[str], np.ndarray]
    noun: str


def images(*, grayscale: bool = False) -> Reader:
    """Image files: JPEG, PNG, BMP, TIFF, WebP and GIF, as 8-bit RGB or gray."""
    return Reader(_IMAGE_EXTENSIONS, _decode_gray if grayscale else _decode_rgb, "images")


def _decode_gray(path: str) -> np.ndarray:
    return _decode_image(path, "GRAY", "L")


def _decode_rgb(path: str) -> np.ndarray:
    return _decode_image(path, "RGB", "RGB")


def _decode_image(path: str, jpeg_colors: str, pillow_mode: str) -> np.ndarray:
    """The upright image (C, H, W) uint8 in a file, whose content counts and not its name; the first of several."""
    content = _read(path)
    image = _decode_jpeg(content, jpeg_colors)
    if image is None:
        image = _decode_with_pillow(path, content, pillow_mode)
    # A gray image has a channel axis only from simplejpeg.
    image = image[:, :, None] if image.ndim == 2 else image
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _read(path: str) -> bytes:
    """The whole file, with three system calls: small images are read by the ten thousand."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            content = os.read(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(Problem(path, f"cannot be read. {error.strerror}")) from None
    if not content:
        raise DataError(Problem(path, "cannot be read. The file is empty"))
    return content


def _decode_jpeg(content: bytes, colors: str) -> np.ndarray | None:
    """The image (H, W, C), or None for what is left to Pillow: other formats, CMYK, rotation by EXIF, damage."""
    if content[:2] != b"\xff\xd8" or content.find(b"Exif\x00", 0, _EXIF_BYTES) >= 0:
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        return simplejpeg.decode_jpeg(content, colorspace=colors) if int(height) * int(width) <= _MOST_PIXELS else None
    except ValueError:
        return None


def _decode_with_pillow(path: str, content: bytes, mode: str) -> np.ndarray:
    """The image (H, W) or (H, W, C). Raises DataError, whatever Pillow makes of a damaged file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata and unusual files, which do no harm to pixels
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                return _to_bytes(ImageOps.exif_transpose(image), mode)
    except UnidentifiedImageError:
        raise DataError(Problem(path, f"cannot be read. {_NO_IMAGE}")) from None
    except Exception as error:
        # From SyntaxError to struct.error: what Pillow raises depends on the byte that is wrong.
        raise DataError(Problem(path, f"cannot be decoded. {error or type(error).__name__}")) from None


def _to_bytes(image: Image.Image, mode: str) -> np.ndarray:
    """Pixels in `mode`, `L` or `RGB`; of 16 bits the higher 8 are kept, transparency is left out."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return gray if mode == "L" else np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        # Nobody knows which of its values are black and white.
        raise ValueError("It has 32 bits for each pixel, expected 8 or 16")
    return np.asarray(image.convert(mode))


_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_NO_IMAGE = f"It is no image, or a damaged one. Expected {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
_EXIF_BYTES = 2**16  # metadata come first
_MOST_PIXELS = 2 * 89_478_485  # more are what Pillow calls a decompression bomb
_IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})

READERS = {"images": images}
