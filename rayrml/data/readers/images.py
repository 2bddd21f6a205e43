"""Image files: one image each, as bytes of one or three channels."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from rayrml import storage
from rayrml.data.readers.reader import Read, Reader
from rayrml.errors import DataError, Problem


def images(*, grayscale: bool = False) -> Reader:
    """Image files: JPEG, PNG, BMP, TIFF, WebP and GIF, as 8-bit RGB or gray."""
    colors = ("GRAY", "L") if grayscale else ("RGB", "RGB")

    def read(path: str) -> np.ndarray:
        return _decode_image(path, *colors)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: read(path)

    return Reader("images", opened, read, _EXTENSIONS, pixels=True)


def _decode_image(path: str, jpeg_colors: str, pillow_mode: str) -> np.ndarray:
    """The upright image (C, H, W) uint8 in a file, whose content counts and not its name; the first of several."""
    content = _read(path)
    image = _decode_jpeg(content, jpeg_colors)
    if image is None:
        image = _decode_with_pillow(path, content, pillow_mode)
    # A gray image has a channel axis only from simplejpeg.
    image = image[:, :, None] if image.ndim == 2 else image
    return image.transpose(2, 0, 1)


def _read(path: str) -> bytes:
    """The whole file, with three system calls if it is small: small images are read by the ten thousand."""
    try:
        if storage.is_uri(path):
            content = storage.read(path)
        else:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                content = os.read(descriptor, _SMALL_BYTES)
                if len(content) == _SMALL_BYTES:
                    content += os.read(descriptor, os.fstat(descriptor).st_size)
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
_SMALL_BYTES = 2**16
_EXIF_BYTES = 2**16  # metadata come first
_MOST_PIXELS = 2 * 89_478_485  # more are what Pillow calls a decompression bomb
_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})

READERS = {"images": images}
