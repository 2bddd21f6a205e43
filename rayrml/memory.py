"""How much memory there is, and sizes as people write them."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import psutil

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_CONTAINER = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, or of its container if that has less."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no container, or "max": no limit
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text())
        lines = (line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        # What files have left in memory makes room when it is needed.
        files = sum(int(count) for name, count in lines if name in ("active_file", "inactive_file"))
        free = min(free, limit - used + files)
    return max(free, 0)


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors leave: the next batch needs as much.

    The C library gives large blocks back to the system at once, which then has to clear each page again: for a small
    network on large images half of the time. Does nothing where the C library is another one than GNU's.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_MAX, 0)  # no block has a mapping of its own, which would end with it
        set_option(_TRIM_THRESHOLD, 2**31 - 1)


def human_bytes(count: int) -> str:
    """A number of bytes with its unit: `4.3 GB`."""
    if count < 1000:
        return f"{count} bytes"
    size = float(count)
    units = ["KB", "MB", "GB", "TB"]
    while (size := size / 1000) >= 999.5 and len(units) > 1:
        units.pop(0)
    return f"{size:.3g} {units[0]}"
