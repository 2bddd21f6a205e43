"""Image files: one image each, as bytes of one or three channels."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image, ImageMode, ImageOps, UnidentifiedImageError, features

from rayrml import extras, storage
from rayrml.data.readers.reader import Read, Reader
from rayrml.errors import DataError, Problem, describe
from rayrml.formatting import format_bytes


def images(*, grayscale: bool = False) -> Reader:
    """Image files: JPEG, PNG, BMP, TIFF, WebP, GIF, AVIF and, with `pillow-heif`, HEIC, as 8-bit RGB or gray."""
    colors = ("GRAY", "L") if grayscale else ("RGB", "RGB")

    def read(path: str) -> np.ndarray:
        return _decode_image(path, *colors)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: read(path)

    return Reader("images", opened, read, IMAGE_EXTENSIONS, pixels=True)


def _decode_image(path: str, jpeg_colors: str, pillow_mode: str) -> np.ndarray:
    """The upright image (C, H, W) uint8 in a file, the first of several; the content counts, not the file name."""
    content = read_content(path)
    image = _decode_jpeg(content, jpeg_colors)
    if image is None:
        image = _decode_with_pillow(path, content, pillow_mode)
    # A gray image has a channel axis only from simplejpeg.
    image = image[:, :, None] if image.ndim == 2 else image
    return image.transpose(2, 0, 1)


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What an image file says of its image, without its pixels.

    Attributes:
        size: height and width of the upright image.
        orientation: the EXIF tag that says how the image is turned, 1 for not at all.
        gray: whether it has only shades of gray.
        deep: whether it has 16 bits per pixel.
        several: whether it has more than one page or frame.
        format: as Pillow names it.
    """

    size: tuple[int, int]
    orientation: int
    gray: bool
    deep: bool
    several: bool
    format: str


def read_header(path: str) -> ImageHeader:
    """The header of an image file. Raises DataError."""
    with open_image(path) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
        height, width = image.height, image.width
        return ImageHeader(
            size=(width, height) if orientation in _TURNED else (height, width),
            orientation=orientation,
            gray=ImageMode.getmode(image.mode).basemode == "L",
            deep=is_deep(image),
            several=bool(getattr(image, "is_animated", False)),
            format=image.format or "",
        )


@contextlib.contextmanager
def open_image(path: str) -> Iterator[Image.Image]:
    """The image in a file, the first of several, whose pixels are decoded when they are used.

    Raises:
        DataError: whatever Pillow raises for a damaged file, in the block, too.
    """
    with _opened(path, read_content(path)) as image:
        yield image


def read_content(path: str) -> bytes:
    """The whole file."""
    try:  # not `explaining`, which takes microseconds: small images are read by the tens of thousands
        content = storage.read(path) if storage.is_uri(path) else _read_local(path)
    except OSError as error:
        raise DataError(Problem(path, f"cannot be read. {describe(error)}")) from None
    if not content:
        raise DataError(Problem(path, "cannot be read. The file is empty"))
    return content


def _read_local(path: str) -> bytes:
    """The whole file, with three system calls if it is small: small images are read by the tens of thousands."""
    descriptor = os.open(path, _HOW)
    try:
        content = os.read(descriptor, _SMALL_BYTES)
        if len(content) == _SMALL_BYTES:
            content += os.read(descriptor, _checked_size(path, os.fstat(descriptor).st_size))
        return content
    finally:
        os.close(descriptor)


def _checked_size(path: str, size: int) -> int:
    if size > _MOST_BYTES:
        raise DataError(Problem(path, f"cannot be read. Its size is {format_bytes(size)}. {_EXPECTED_LESS}"))
    return size


def check_pixels(width: int, height: int) -> None:
    """Raise ValueError, before memory is allocated, if an image is as large as a decompression bomb."""
    if width * height > _MOST_PIXELS:
        raise ValueError(f"It is {width}x{height} pixels. {_EXPECTED_LESS}")


def _decode_jpeg(content: bytes, colors: str) -> np.ndarray | None:
    """The image (H, W, C), or None if Pillow must decode it: other formats, CMYK, rotation by EXIF, damage."""
    if content[:2] != b"\xff\xd8" or content.find(b"Exif\x00", 0, _EXIF_BYTES) >= 0:
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        return simplejpeg.decode_jpeg(content, colorspace=colors) if int(height) * int(width) <= _MOST_PIXELS else None
    except ValueError:
        return None


def _check_webp(content: bytes) -> None:
    """Check the size in a WebP file's header: its library allocates the memory as soon as the file is opened.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    kind, start = content[12:16], content[20:30]
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(start) < 10:
        return
    if kind == b"VP8X":
        check_pixels(1 + int.from_bytes(start[4:7], "little"), 1 + int.from_bytes(start[7:10], "little"))
    elif kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        check_pixels(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"VP8 ":
        check_pixels(*(int.from_bytes(start[i : i + 2], "little") & 0x3FFF for i in (6, 8)))


def _decode_with_pillow(path: str, content: bytes, mode: str) -> np.ndarray:
    """The image (H, W) or (H, W, C). Raises DataError, whatever Pillow raises for a damaged file."""
    with _opened(path, content) as image:
        check_pixels(*image.size)
        return _to_bytes(ImageOps.exif_transpose(image), mode)


@contextlib.contextmanager
def _opened(path: str, content: bytes) -> Iterator[Image.Image]:
    with _explaining(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata and unusual files, which do not affect pixels
        _check_webp(content)
        with Image.open(io.BytesIO(content), formats=_list_formats(content)) as image:
            yield image


def _list_formats(content: bytes) -> tuple[str, ...]:
    """Pillow's names of the formats that a file may have: one of the usual ones, or what its first bytes name.

    Source: ISO/IEC 14496-12, section 4.3; AVIF and HEIF files begin with their brand.

    Raises:
        ValueError: what reads the format is not installed.
    """
    if content[4:8] != b"ftyp":
        return _FORMATS
    if content[8:12] in _AVIF_BRANDS:
        if not features.check("avif"):
            raise ValueError("This Pillow reads no AVIF. Install Pillow 11.3 or later with `pip install -U pillow`")
        return ("AVIF",)
    if lacking := extras.missing(*extras.OF_ENDINGS[".heic"]):
        raise ValueError(f"It is HEIF, and {lacking}")
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


@contextlib.contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Turn what Pillow raises for a damaged file into a DataError that names it."""
    try:
        yield
    except UnidentifiedImageError:
        raise DataError(Problem(path, f"cannot be read. {_NO_IMAGE}")) from None
    except Exception as error:
        # Pillow raises anything from SyntaxError to struct.error, depending on which byte is wrong.
        raise DataError(Problem(path, f"cannot be decoded. {describe(error)}")) from None


def _to_bytes(image: Image.Image, mode: str) -> np.ndarray:
    """Pixels in `mode`, `L` or `RGB`; the higher 8 of 16 bits are kept, and transparency is dropped."""
    if is_deep(image):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return gray if mode == "L" else np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        # There is no way to know which of its values are black and white.
        raise ValueError("It has 32 bits per pixel, expected 8 or 16")
    return np.asarray(image.convert(mode))


def is_deep(image: Image.Image) -> bool:
    """Whether an image has 16 bits per pixel, which Pillow also reads as 32."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_AVIF_BRANDS = (b"avif", b"avis")
_NO_IMAGE = f"It is not an image, or damaged. Expected {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: the values that swap height and width
_SMALL_BYTES = 2**16
_EXIF_BYTES = 2**16  # metadata come first
_MOST_PIXELS = 99_999_999  # a few bytes can declare more, which would take gigabytes
_MOST_BYTES = 10 * (_MOST_PIXELS + 1)  # more than this many pixels take in any format
_EXPECTED_LESS = "Expected an image of less than 100 megapixels"
_HOW = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # opening a pipe could block forever
_JPEG = (".jpg", ".jpeg", ".jfif", ".jpe", ".pjpeg")
_OPTIONAL = [ending for ending, needed in extras.OF_ENDINGS.items() if extras.missing(*needed) is None]
IMAGE_EXTENSIONS = frozenset({*_JPEG, ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", *_OPTIONAL})

READERS = {"images": images}
