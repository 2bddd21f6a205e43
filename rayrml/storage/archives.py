"""Zip archives that somebody else made: what a member takes in memory is known before it is read."""

from __future__ import annotations

import zipfile

from rayrml.errors import DataError, Problem
from rayrml.formatting import format_bytes
from rayrml.memory import available_memory

# What the format can do at the most. Source: https://www.zlib.net/zlib_tech.html, "Maximum Compression Factor".
_MOST_COMPRESSION = 1032
_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_size(info: zipfile.ZipInfo, place: str) -> None:
    """Raise DataError if a member says that it is larger than it can be, or than the memory; `place` names it."""
    if info.compress_type not in _DEFLATED:
        raise DataError(Problem(place, "cannot be read. It is packed in a way that is not known. Expected deflate"))
    if info.file_size > _MOST_COMPRESSION * max(info.compress_size, 1):
        size = f"{format_bytes(info.file_size)}, packed into {format_bytes(info.compress_size)}"
        raise DataError(Problem(place, f"cannot be read. It is said to hold {size}, which cannot be"))
    check_memory(info.file_size, place)


def check_memory(size: int, place: str) -> None:
    """Raise DataError if there are not `size` bytes of memory; `place` names what needs them."""
    if size > _SMALL and size > (free := available_memory()):
        needed = f"It needs {format_bytes(size)} of memory, but there are {format_bytes(free)}"
        raise DataError(Problem(place, f"cannot be read. {needed}"))


_SMALL = 2**26  # is always there, and asking takes longer than to read it
