"""Sizes of images by as few of their files' bytes as possible: labels are compared with those of all images.

An orientation is the one that `images` applies when it decodes the pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import NamedTuple

from rayrml import storage
from rayrml.data.readers.images import read_header
from rayrml.errors import DataError, Problem, describe

QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF: the orientations that swap height and width


class ImageSize(NamedTuple):
    """The size of an image.

    Attributes:
        height: in pixels of the upright image.
        width: likewise.
        orientation: the EXIF tag that says how the stored pixels are turned to be upright, 1 for not at all.
    """

    height: int
    width: int
    orientation: int

    @property
    def is_turned(self) -> bool:
        """Whether the stored pixels have this height as their width."""
        return self.orientation in QUARTER_TURNS


def read_sizes(paths: Sequence[str]) -> list[ImageSize | str]:
    """The size of each image, or what is wrong with its file."""
    if not paths:
        return []
    chunks = [paths[begin : begin + _CHUNK] for begin in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as threads:
        return [size for sizes in threads.map(_read_some, chunks) for size in sizes]


def read_size(path: str) -> ImageSize:
    """The size of an image. Raises DataError if its file cannot be read, or is no image."""
    try:
        start = storage.read_start(path, _START_BYTES)
    except OSError as error:
        raise DataError(Problem(path, f"cannot be read. {describe(error)}")) from None
    try:
        size = _size_of_jpeg(start) or _size_of_png(start, path)
    except (struct.error, IndexError, OSError):
        size = None  # damaged, or unusual: the whole file shows
    if size is None or 0 in size:
        header = read_header(path)
        orientation = header.orientation if header.orientation in range(1, 9) else 1
        return ImageSize(*header.size, orientation)
    return size


def _read_some(paths: Sequence[str]) -> list[ImageSize | str]:
    sizes: list[ImageSize | str] = []
    for path in paths:
        try:
            sizes.append(read_size(path))
        except DataError as error:
            sizes.append(str(error))
    return sizes


def _size_of_jpeg(start: bytes) -> ImageSize | None:
    """The size in the frame header, None if this is no JPEG, or if its headers are longer or unusual.

    Source: ITU-T T.81, annex B.
    """
    if start[:2] != b"\xff\xd8":
        return None
    has_exif = start.find(b"Exif\0") >= 0  # decoding looks for it in the same bytes
    orientation = None if has_exif else 1
    at = 2
    while start[at] == 0xFF:
        marker = start[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(start[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", start, at + 5)
            return None if orientation is None else _upright(height, width, orientation)
        if marker == _APP1 and start[at + 4 : at + 9] == b"Exif\0":
            if orientation is not None:  # in several parts
                return None
            orientation = _orientation(start[at + 10 : at + 2 + length])
            if orientation is None and start.find(b"tiff:Orientation") < 0:  # XMP, which Pillow reads
                orientation = 1
        if length < 2 or marker == _SCAN:
            return None
        at += 2 + length
    return None


def _orientation(exif: bytes) -> int | None:
    """The orientation in the first directory of TIFF tags, None if it is not there or unusual.

    Source: EXIF 2.32, section 4.6.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    (first,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, first)
    for number in range(count):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, first + 2 + 12 * number)
        if tag == _ORIENTATION:
            return value if (kind, values) == (_SHORT, 1) and 1 <= value <= 8 else None
    return None


def _size_of_png(start: bytes, path: str) -> ImageSize | None:
    """The size in the first chunk of a PNG without metadata that may turn it. Source: W3C PNG, section 5."""
    if start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", start, 16)
    apart = storage.is_uri(path) or storage.is_member(path)
    if len(start) == _START_BYTES and apart:
        start = storage.read(path)
    whole = len(start) < _START_BYTES or apart
    if _ends_without_metadata(start) if whole else _file_ends_without_metadata(path):
        return ImageSize(height, width, 1)
    return None


def _ends_without_metadata(content: bytes) -> bool:
    at = 8
    while content[at + 4 : at + 8] != b"IEND":
        if _may_turn(content[at + 4 : at + 25]):
            return False
        at += 12 + struct.unpack_from(">I", content, at)[0]
    return True


def _file_ends_without_metadata(path: str) -> bool:
    """The same of a local file, of which only the beginnings of chunks are read."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (strings, by the hundred thousand)
        at = 8
        while (start := _read_at(file, at))[4:8] != b"IEND":
            if _may_turn(start[4:]):
                return False
            at += 12 + struct.unpack_from(">I", start)[0]
    return True


def _read_at(file: FileIO, at: int) -> bytes:
    file.seek(at)
    return file.read(25)


def _may_turn(chunk: bytes) -> bool:
    """Whether a chunk is EXIF, or text that holds EXIF or XMP."""
    return chunk[:4] == b"eXIf" or (chunk[:4] in (b"tEXt", b"zTXt", b"iTXt") and chunk[4:].startswith(_HOLDERS))


def _upright(height: int, width: int, orientation: int) -> ImageSize:
    turned = orientation in QUARTER_TURNS
    return ImageSize(width, height, orientation) if turned else ImageSize(height, width, orientation)


_START_BYTES = 2**16
_CHUNK, _THREADS = 64, 16
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _SCAN, _ORIENTATION, _SHORT = 0xE1, 0xDA, 0x0112, 3
_HOLDERS = (b"Raw profile type", b"XML:com.adobe.xmp")
