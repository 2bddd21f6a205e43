"""How much memory is available, and how much of it this process keeps."""

from __future__ import annotations

import contextlib
import ctypes
import math
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
# They exist on Linux only.
_CONTAINER, _STATUS = Path("/sys/fs/cgroup"), Path("/proc/self/status")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def available_memory() -> int:
    """Bytes that this process can still allocate: the least of the machine's, its container's and its own limit's."""
    return max(int(min([shared_memory(), *_own_limits()])), 0)


def shared_memory() -> int:
    """Bytes that all processes of this machine or container together can still allocate."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no container, or "max": no limit
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text())
        lines = (line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        # The system frees cached files when memory is needed.
        files = sum(int(count) for name, count in lines if name in ("active_file", "inactive_file"))
        free = min(free, limit - used + files)
    return max(free, 0)


def machine_name() -> str:
    """A name of this machine or container that no other one has: processes with the same name share its memory."""
    names = [platform.node()]
    with contextlib.suppress(OSError):  # not Linux; the names of machines differ, as a rule
        names.append(_BOOT.read_text().strip())
    return " ".join(names)


def own_memory() -> int:
    """Bytes of the machine's memory that this process uses."""
    return psutil.Process().memory_info().rss


def _own_limits() -> Iterator[float]:
    """What is left of the limits set for this process (`ulimit -v`, `-d`); infinity if there is none."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return
    for kind, taken in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        limit, _ = resource.getrlimit(kind)
        yield math.inf if limit == resource.RLIM_INFINITY else limit - _status(taken)


def _status(name: str) -> int:
    """Bytes that the system reports for this process under `name`; 0 if it does not."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors: the next batch needs as much.

    The C library returns large blocks to the system at once, which then has to clear each page again: half of the
    time, for a small network on large images. Does nothing if the C library is not GNU's.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_MAX, 0)  # no block gets a mapping of its own, which would end when it is freed
        set_option(_TRIM_THRESHOLD, 2**31 - 1)
