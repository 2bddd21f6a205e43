"""Zip archives from untrusted sources: the memory that a member needs is known before it is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from rayrml.errors import DataError, Problem
from rayrml.formatting import format_bytes
from rayrml.memory import available_memory

# The format's highest possible ratio. Source: https://www.zlib.net/zlib_tech.html, "Maximum Compression Factor".
_MOST_COMPRESSION = 1032
_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_size(info: zipfile.ZipInfo, place: str) -> None:
    """Raise DataError if a member claims to be larger than possible, or than the memory; `place` names it."""
    if info.compress_type not in _DEFLATED:
        raise DataError(Problem(place, "cannot be read. Its compression method is unknown. Expected deflate"))
    if info.file_size > _MOST_COMPRESSION * max(info.compress_size, 1):
        size = f"{format_bytes(info.file_size)}, packed into {format_bytes(info.compress_size)}"
        raise DataError(Problem(place, f"cannot be read. It claims to hold {size}, which is impossible"))
    check_memory(info.file_size, place)


def read_member(archive: zipfile.ZipFile, name: str, path: str | Path) -> bytes:
    """A member of the archive at `path`, in memory; nothing is unpacked to a folder.

    Raises:
        DataError: it claims to be larger than possible, or than the memory.
        KeyError: there is none of that name.
    """
    check_size(archive.getinfo(name), f"{path}: {name}")
    return archive.read(name)


def check_memory(size: int, place: str) -> None:
    """Raise DataError if fewer than `size` bytes of memory are available; `place` names what needs them."""
    if size > _SMALL and size > (free := available_memory()):
        needed = f"It needs {format_bytes(size)} of memory, but {format_bytes(free)} are available"
        raise DataError(Problem(place, f"cannot be read. {needed}"))


_SMALL = 2**26  # bytes that are always available; checking takes longer than reading them
