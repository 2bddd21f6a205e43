"""The contents of text files: unpacked, checked, and as UTF-8 with line ends that are all the same."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib

import numpy as np

from rayrml import storage
from rayrml.data.byte_order_marks import split_mark
from rayrml.errors import DataError, Problem, explaining

_PIECE = 2**20  # bytes that are searched at a time
_NO_TEXT = {
    b"\x1f\x8b": "is compressed with gzip. Expected a name that ends with .gz",
    b"PK\x03\x04": "is a ZIP archive or an Excel file. Save the table as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel file. Save the table as CSV",
    b"PAR1": "is a Parquet file. Expected a name that ends with .parquet",
    b"version https://git-lfs": "is a pointer of Git LFS, not the table itself. Fetch it with `git lfs pull`",
    b"<!DOCTYPE": "is a web page, not a table. Download the table itself",
    b"<html": "is a web page, not a table. Download the table itself",
}


def read_text(path: str) -> bytes:
    r"""The content of a text file as UTF-8, without a byte order mark, all lines ending with `\n`.

    Raises:
        DataError: the file is not text, is damaged, or has an encoding that cannot be told for certain.
    """
    place = storage.split(path)[1]
    with explaining(place, "cannot be read", (OSError, EOFError, zlib.error)):
        content = storage.read(path)
        if place.lower().endswith(".gz"):
            content = gzip.decompress(content)
    for beginning, message in _NO_TEXT.items():
        if content.startswith(beginning):
            raise DataError(Problem(place, message))
    content = _decoded(content, place)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    zero = content.find(b"\0")
    if zero >= 0:
        raise DataError(Problem(line_of(content, zero, place), f"holds a NUL byte. {_cure_of_nul(content)}"))
    _check_utf8(content, place)
    return content


def line_of(content: bytes, position: int, place: str) -> str:
    """The line that contains a byte, for messages: `labels.csv, line 7`."""
    return f"{place}, line {content.count(10, 0, position) + 1}"


def find_byte(content: bytes, byte: bytes) -> np.ndarray:
    """The positions of a byte, ascending, as int32 or int64."""
    kind = np.int32 if len(content) < 2**31 - 1 else np.int64
    positions = np.empty(content.count(byte), kind)
    view = np.frombuffer(content, np.uint8)
    filled = 0
    for begin in range(0, len(view) if len(positions) else 0, _PIECE):
        found = np.flatnonzero(view[begin : begin + _PIECE] == byte[0])
        positions[filled : filled + len(found)] = found + begin
        filled += len(found)
    return positions


def _decoded(content: bytes, place: str) -> bytes:
    """The content in UTF-8, if its byte order mark tells what it is in."""
    encoding, content = split_mark(content)
    if encoding in (None, "utf-8"):
        return content
    with explaining(place, f"is damaged: not {encoding.upper()} text", UnicodeDecodeError):
        return content.decode(encoding).encode()


def _cure_of_nul(content: bytes) -> str:
    many = content.count(0) > len(content) // 4
    return "It may be UTF-16: save the file as UTF-8" if many else "The file may be damaged: expected text"


def _check_utf8(content: bytes, place: str) -> None:
    if content.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    begin = 0
    while begin < len(content):
        piece = content[begin : begin + _PIECE]
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(piece, final=begin + _PIECE >= len(content))
        except UnicodeDecodeError as error:
            position = begin - pending + error.start
            byte = content[position : position + 1]
            line = content[content.rfind(b"\n", 0, position) + 1 :].split(b"\n", 1)[0][:60].decode("latin-1")
            shown = re.sub(r"[^ -~\xa1-\xff]", "?", line)
            message = f"is not UTF-8 text: byte 0x{byte.hex()} (as Latin-1 the line is '{shown}')"
            place = line_of(content, position, place)
            raise DataError(Problem(place, f"{message}. Save the file as UTF-8")) from None
        begin += _PIECE
