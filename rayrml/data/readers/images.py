"""Image files: bytes of one or three channels, or floats where files have more bits or bands."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageMode, ImageOps, UnidentifiedImageError, features

from rayrml import extras, storage
from rayrml.data.readers import tiff
from rayrml.data.readers.depth import BYTE, Pixels, Scale, is_image
from rayrml.data.readers.reader import Read, Reader
from rayrml.errors import DataError, Problem, describe, explaining
from rayrml.formatting import format_bytes


def images(*, grayscale: bool = False, scale: Scale | None = None, pages: tiff.Pages | None = None) -> Reader:
    """Image files: JPEG, PNG, BMP, TIFF, WebP, GIF, AVIF and, with `pillow-heif`, HEIC, as RGB or gray.

    Bytes stay bytes; more bits per value become floats. TIFF files may have more bands.
    """
    ways = _Ways(grayscale, scale, pages)

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        if pages == "samples":
            yield functools.partial(_decode_page, path, read_content(path), ways)
        else:
            yield lambda name: _decode_image(path, ways)

    return Reader(
        "images",
        opened,
        None if pages == "samples" else functools.partial(_decode_image, ways=ways),
        IMAGE_EXTENSIONS,
        pixels=is_image(scale),
        floats=scale is not None,
        contents=list_pages if pages == "samples" else None,
    )


def read_shown(path: str) -> np.ndarray:
    """The image (3, H, W) uint8 as people see it: of more than 8 bits, its values from the least to the largest."""
    image = _decode_image(path, _Ways(False, None, "first"))
    if image.dtype != np.uint8:
        finite = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        span = max(float(np.ptp(finite)), float(np.finfo(np.float32).tiny))
        image = ((finite - finite.min()) * (BYTE / span)).astype(np.uint8)
    return image if len(image) == _COLORS else np.repeat(image[:1], _COLORS, axis=0)


class _Ways(NamedTuple):
    """How images are read: the options of the reader."""

    grayscale: bool
    scale: Scale | None = None
    pages: tiff.Pages | None = None


def _decode_image(path: str, ways: _Ways) -> np.ndarray:
    """The upright image (C, H, W) in a file, bytes or float32; the content counts, not the file name."""
    content = read_content(path)
    image = _decode_jpeg(content, "GRAY" if ways.grayscale else "RGB")
    if image is None:
        image = _decode_others(path, content, ways)
    elif ways.scale is not None:
        with _explaining(path):
            image = Pixels.of_bytes(image).scaled(ways.scale)
    # Pillow's gray images have no axis of channels.
    image = image[:, :, None] if image.ndim == 2 else image
    return image.transpose(2, 0, 1)


def _decode_others(path: str, content: bytes, ways: _Ways, name: str = "") -> np.ndarray:
    """The image (H, W) or (H, W, C) in a file that is no JPEG, or its page of a name. Raises DataError."""
    if tiff.is_tiff(content):
        return _decode_tiff(path, content, ways, name)
    with _opened(path, content) as image:
        check_pixels(*image.size)
        if _is_deep_png(content):
            return _read_deep_png(image, content).in_color(grayscale=ways.grayscale, native=False).scaled(ways.scale)
        # Without `Pixels`: small images are read by the tens of thousands.
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("L" if ways.grayscale else "RGB"))
        return pixels if ways.scale is None else Pixels.of_bytes(pixels).scaled(ways.scale)


def _decode_tiff(path: str, content: bytes, ways: _Ways, name: str) -> np.ndarray:
    with _explaining(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tiff.opened(content) as file:
            pages = [int(name)] if name else tiff.select_pages(file.pages, ways.pages)
            height, width = file.size(pages[0])
            check_pixels(width, height, count=len(pages))
            native = ways.pages == "channels"
            return _joined([file.read(page, grayscale=ways.grayscale, native=native) for page in pages]).scaled(
                ways.scale
            )


def _decode_page(path: str, content: bytes, ways: _Ways, name: str) -> np.ndarray:
    """The page (C, H, W) of a name, or the only image in a file."""
    if not name:
        return _decode_image(path, ways)
    return _decode_others(path, content, ways, name).transpose(2, 0, 1)


def _joined(pages: Sequence[Pixels]) -> Pixels:
    """The channels of all pages. Raises ValueError if they differ in size or type."""
    first = pages[0]
    if len(pages) == 1:
        return first
    for page in pages:
        if page.values.shape[:2] != first.values.shape[:2] or page.values.dtype != first.values.dtype:
            raise ValueError('Its pages differ in size or type. Expected "pages": "first", or equal pages')
    return Pixels(np.concatenate([page.values for page in pages], axis=2), first.white, "bands")


def list_pages(path: str) -> Sequence[str]:
    """The names of the pages of a TIFF file that has several, [""] for other files. Raises DataError."""
    content = read_content(path)
    if not tiff.is_tiff(content):
        return [""]
    with _explaining(path), tiff.opened(content) as file:
        return [f"{page:0{_PAGE_DIGITS}}" for page in file.pages] if len(file.pages) > 1 else [""]


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What an image file says of its image, without its pixels.

    Attributes:
        size: height and width of the upright image.
        orientation: the EXIF tag by which decoding turns the image, 1 for not at all.
        gray: whether it has only shades of gray.
        bits: 8 or 16 of each value, 32 for numbers of which none stands for white.
        several: whether it has more than one frame.
        alpha: whether it has transparency, which is not read.
        format: as Pillow names it.
    """

    size: tuple[int, int]
    orientation: int
    gray: bool
    bits: int
    several: bool
    alpha: bool
    format: str


def read_header(path: str) -> ImageHeader:
    """The header of an image file. Raises DataError."""
    content = read_content(path)
    if tiff.is_tiff(content):
        with _explaining(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_tiff_header(content)
    with _opened(path, content) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
        height, width = image.height, image.width
        return ImageHeader(
            size=(width, height) if orientation in _TURNED else (height, width),
            orientation=orientation,
            gray=ImageMode.getmode(image.mode).basemode == "L" or _is_deep(image),
            bits=16 if _is_deep(image) or _is_deep_png(content) else 8,
            several=bool(getattr(image, "is_animated", False)),
            alpha="A" in image.getbands() or "transparency" in image.info,
            format=image.format or "",
        )


def _read_tiff_header(content: bytes) -> ImageHeader:
    with tiff.opened(content) as file:
        page = file.pages[0]
        turn, gray = file.orientation(page), file.is_gray(page)
        return ImageHeader(file.size(page), turn, gray, file.bits(page), False, False, "TIFF")


def find_bits(path: str) -> Literal[8, 16, 32]:
    """The bits of each value in a file, by as few of its bytes as possible: as `ImageHeader` has them.

    Raises:
        DataError: the file cannot be read.
    """
    if storage.is_uri(path):
        start = read_content(path)
    else:
        with explaining(path, "cannot be read", OSError):
            start = storage.read_start(path, _HEADER_BYTES)
    if tiff.is_tiff(start):
        bits = read_header(path).bits
        return 32 if bits == 32 else 16 if bits == 16 else 8
    return 16 if _is_deep_png(start) else 8


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
        apart = storage.is_uri(path) or storage.is_member(path)
        content = storage.read(path) if apart else _read_local(path)
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


def check_pixels(width: int, height: int, count: int = 1) -> None:
    """Raise ValueError, before memory is allocated, if an image is as large as a decompression bomb."""
    if count * width * height > _MOST_PIXELS:
        raise ValueError(f"It is {width}x{height} pixels{f' on {count} pages' * (count > 1)}. {_EXPECTED_LESS}")


def _decode_jpeg(content: bytes, colors: str) -> np.ndarray | None:
    """The image (H, W, C), or None if Pillow must decode it: other formats, rotation by EXIF, damage."""
    if not _is_jpeg_without_exif(content):
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        return simplejpeg.decode_jpeg(content, colorspace=colors) if int(height) * int(width) <= _MOST_PIXELS else None
    except ValueError:
        return None


def _is_jpeg_without_exif(content: bytes) -> bool:
    """Whether a file is a JPEG that no EXIF turns."""
    return content[:2] == b"\xff\xd8" and content.find(b"Exif\x00", 0, _EXIF_BYTES) < 0


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


@contextlib.contextmanager
def _opened(path: str, content: bytes) -> Iterator[Image.Image]:
    with _explaining(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata and unusual files, which do not affect pixels
        _check_webp(content)
        with Image.open(io.BytesIO(content), formats=_list_formats(content)) as image:
            if _is_jpeg_without_exif(content):
                image.info.pop("xmp", None)  # Pillow finds an orientation there, but does not decode such files here
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


def _read_deep_png(image: Image.Image, content: bytes) -> Pixels:
    """16 bits per channel; of colors Pillow reads 8, and all of them only if another package does."""
    if _is_deep(image):
        upright = np.asarray(ImageOps.exif_transpose(image))
        return Pixels(upright.astype(np.uint16)[:, :, None], _DEEP_WHITE, "gray")
    if extras.missing("imagecodecs", "tiff") is None:
        import imagecodecs  # pyright: ignore[reportMissingImports]

        values = imagecodecs.png_decode(content)
        values = values[:, :, None] if values.ndim == 2 else values
    else:
        values = np.asarray(image).astype(np.uint16) * (_DEEP_WHITE // BYTE)
    values = values[:, :, :1] if values.shape[2] == 2 else values[:, :, :3]  # without transparency
    found = Pixels(values, _DEEP_WHITE, "gray" if values.shape[2] == 1 else "rgb")
    return found.upright(image.getexif().get(_ORIENTATION, 1))


def _is_deep(image: Image.Image) -> bool:
    """Whether an image has one channel of 16 bits, which Pillow also reads as 32."""
    return image.mode.startswith("I;16") or image.mode == "I"


def _is_deep_png(content: bytes) -> bool:
    """Whether a file is a PNG with 16 bits per value. Source: W3C PNG, section 11.2.2."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and content[24:25] == b"\x10"


_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_AVIF_BRANDS = (b"avif", b"avis")
_NO_IMAGE = f"It is not an image, or damaged. Expected {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
_COLORS = 3
_HEADER_BYTES, _PAGE_DIGITS, _DEEP_WHITE = 64, 4, 2**16 - 1
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
