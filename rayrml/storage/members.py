"""Files inside of shards: each is a range of bytes of its shard, and its path says which.

`<shard>/@<begin>+<size>/<name>` is the path of a member, so a process that reads it needs no index of the shards, and
reads no other bytes of them. Shards are tar files, and Parquet files whose column of contents is stored as it is.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote

from rayrml.storage.paths import is_uri

_MARK = "/@"
_PATH = re.compile(r"(.+?\.(?:parquet|tar))/@(\d+)\+(\d+)/[^?]+(\?.*)?", re.IGNORECASE | re.DOTALL)
_PREFIX = {".parquet": 4, ".tar": 512}  # bytes before a member that tell its size: of its length, or of its header
_TAR_SIZE = slice(124, 136)  # of a member in its header. Source: POSIX.1-2017, pax, ustar Interchange Format
_MOST_OPEN = 32
_GAP_BYTES, _MOST_BYTES = 2**18, 2**23  # between ranges that are read together, and of what is read together
_REQUESTS = 16
_open: OrderedDict[str, tuple[int, os.stat_result]] = OrderedDict()  # descriptors of shards on this machine
_opening = threading.Lock()
_ahead: dict[str, bytes] = {}  # contents that were read before they are asked for


class Member(NamedTuple):
    """A file in a shard.

    Attributes:
        shard: path of the shard.
        begin: where its content begins in the shard.
        size: of its content, in bytes.
    """

    shard: str
    begin: int
    size: int


def member_path(member: Member, name: str) -> str:
    """The path of a member, which ends with its name."""
    shard, begin, size = member
    if not is_uri(shard):
        return f"{shard}{_MARK}{begin}+{size}/{name}"
    place, mark, options = shard.partition("?")
    return f"{place}{_MARK}{begin}+{size}/{quote(os.fsencode(name))}{mark}{options}"


def is_member(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a member."""
    text = os.fspath(path)
    return _MARK in text and _PATH.fullmatch(text) is not None


def find_member(path: str | os.PathLike[str]) -> Member | None:
    """Where a member is, None for any other path."""
    text = os.fspath(path)
    found = _PATH.fullmatch(text) if _MARK in text else None
    return None if found is None else Member(found[1] + (found[4] or ""), int(found[2]), int(found[3]))


def stored_in(path: str) -> str:
    """The path of the shard that holds a member; any other path itself."""
    member = find_member(path)
    return path if member is None else member.shard


def read_member(path: str, member: Member, most: int | None = None) -> bytes:
    """The content of a member, or at `most` so many of its first bytes.

    Raises:
        OSError: its shard cannot be read, or is no longer what it was when it was listed.
    """
    if (content := _ahead.get(path)) is not None:
        return content if most is None else content[:most]
    shard, begin, size = member
    prefix = _prefix_bytes(shard)
    wanted = prefix + (size if most is None else min(size, most))
    found = _read_range(shard, begin - prefix, wanted) if begin >= prefix else b""
    try:
        _check(found, prefix, wanted, member)
    except OSError:
        if not is_uri(shard):
            raise
        from rayrml.storage import remote

        remote.close(shard)  # it may have been opened before it was replaced by what was listed
        found = _read_range(shard, begin - prefix, wanted)
        _check(found, prefix, wanted, member)
    return found[prefix:]


@contextlib.contextmanager
def reading_together(paths: Iterable[str]) -> Iterator[None]:
    """A block in which the members at `paths` are read, those that are close together in a store by one request."""
    wanted = list(_in_stores(paths))
    if not wanted:
        yield
        return
    found: dict[str, bytes] = {}
    wanted.sort(key=lambda item: item[1])
    with ThreadPoolExecutor(_REQUESTS) as threads:
        for contents in threads.map(_read_run, _runs(wanted)):
            found |= contents
    _ahead.update(found)
    try:
        yield
    finally:
        for path in found:
            _ahead.pop(path, None)


def _in_stores(paths: Iterable[str]) -> Iterator[tuple[str, Member]]:
    """The members in object stores; none if the first path is no such member."""
    remaining = iter(paths)
    for path in remaining:
        if not is_uri(path) or (member := find_member(path)) is None:
            return
        yield path, member
        break
    for path in remaining:
        if (member := find_member(path)) is not None:
            yield path, member


def _runs(wanted: list[tuple[str, Member]]) -> Iterator[list[tuple[str, Member]]]:
    """Members in the order of their ranges, divided into those that one request reads."""
    run: list[tuple[str, Member]] = []
    for item in wanted:
        first, last = (run[0][1], run[-1][1]) if run else (item[1], item[1])
        end = item[1].begin + item[1].size
        near = item[1].begin - (last.begin + last.size) <= _GAP_BYTES and end - first.begin <= _MOST_BYTES
        if run and not (item[1].shard == last.shard and near):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _read_run(run: list[tuple[str, Member]]) -> dict[str, bytes]:
    """The contents of members by their paths; without those that cannot be read, which is reported when they are."""
    if len(run) == 1:
        return {}  # read when it is asked for, in a thread of its own
    shard, first, _ = run[0][1]
    prefix = _prefix_bytes(shard)
    start = first - prefix
    contents: dict[str, bytes] = {}
    with contextlib.suppress(OSError):
        block = _read_range(shard, start, max(m.begin + m.size for _, m in run) - start) if start >= 0 else b""
        for path, member in run:
            part = block[member.begin - prefix - start : member.begin + member.size - start]
            with contextlib.suppress(OSError):
                _check(part, prefix, prefix + member.size, member)
                contents[path] = part[prefix:]
    return contents


def _prefix_bytes(shard: str) -> int:
    return _PREFIX[os.path.splitext(shard.partition("?")[0])[1].lower()]  # noqa: PTH122 (strings)


def _check(found: bytes, prefix: int, wanted: int, member: Member) -> None:
    """Raise OSError unless `found` has all bytes, and those before the content tell its size."""
    size = None
    if len(found) >= prefix:
        size = int.from_bytes(found[:prefix], "little") if prefix == _PREFIX[".parquet"] else _size_in_header(found)
    if len(found) != wanted or size != member.size:
        reason = f"The shard '{member.shard}' is damaged, or was replaced since it was listed"
        raise OSError(errno.EIO, reason, member.shard)


def _size_in_header(header: bytes) -> int | None:
    field = header[_TAR_SIZE]
    if field[:1] == b"\x80":  # GNU's extension for files from 8 GiB on
        return int.from_bytes(field[1:], "big")
    with contextlib.suppress(ValueError):
        return int(field.strip(b"\0 ") or b"0", 8)
    return None


def _read_range(shard: str, begin: int, count: int) -> bytes:
    """So many bytes of a file; fewer where it ends."""
    if is_uri(shard):
        from rayrml.storage import remote

        return remote.read_range(shard, begin, count)
    descriptor = os.dup(_descriptor(shard))
    try:
        parts: list[bytes] = []
        while count and (part := os.pread(descriptor, count, begin)):
            parts.append(part)
            begin, count = begin + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def _descriptor(shard: str) -> int:
    """The open file, kept for the next member: opening takes a file system of a network a request."""
    status = os.stat(shard)  # noqa: PTH116 (a string)
    with _opening:
        if (kept := _open.get(shard)) is not None:
            if _identity(kept[1]) == _identity(status):
                _open.move_to_end(shard)
                return kept[0]
            os.close(_open.pop(shard)[0])
        descriptor = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
        _open[shard] = descriptor, os.fstat(descriptor)
        for oldest in list(itertools.islice(_open, max(len(_open) - _MOST_OPEN, 0))):
            os.close(_open.pop(oldest)[0])
        return descriptor


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
