"""Data types: how the samples of each become arrays.

A row's builder takes its options by keyword and gives a `Reader`. Readers run in Ray Data's tasks, which must start
fast: this module imports neither torch nor torchvision.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

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
    try:
        content = _read(path)
        image = _decode_jpeg(content, jpeg_colors)
        if image is None:
            image = _decode_with_pillow(content, pillow_mode)
    except OSError as error:  # Pillow's UnidentifiedImageError is one too
        reason = error.strerror or "it is no image, or a damaged one"
        raise DataError(Problem(path, f"cannot be read. {reason}")) from None
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(Problem(path, f"cannot be decoded. {error}")) from None
    # A gray image has a channel axis only from simplejpeg.
    image = image[:, :, None] if image.ndim == 2 else image
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _read(path: str) -> bytes:
    """The whole file, with three system calls: small images are read by the ten thousand."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _decode_jpeg(content: bytes, colors: str) -> np.ndarray | None:
    """The image (H, W, C), or None for what simplejpeg cannot do: other formats, CMYK, rotation by EXIF."""
    if content[:2] != b"\xff\xd8" or b"Exif\x00" in content[:4096]:
        return None
    try:
        return simplejpeg.decode_jpeg(content, colorspace=colors)
    except ValueError:
        return None


def _decode_with_pillow(content: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))


_IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})

READERS = {"images": images}
