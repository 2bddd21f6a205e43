"""Packing a folder: all its files into shards, in the order in which they would be read."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rayrml import storage
from rayrml.data.addresses import file_below
from rayrml.data.discovery import quote_some
from rayrml.data.scanning import METADATA, is_below_passed, scan
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.formatting import format_bytes
from rayrml.storage import pack_writing
from rayrml.storage.containers import find_container
from rayrml.storage.pack_writing import MOST_BYTES, ROW_GROUP_BYTES, ROW_GROUP_FILES, Rows, Shard

SHARD_BYTES = 256 * 2**20
_THREADS, _AHEAD_BYTES, _AHEAD_FILES = 16, 2**26, 256

Group = tuple[int, int]  # the first file of a row group, and the first one after it


@dataclasses.dataclass(frozen=True)
class Found:
    """The files of a folder.

    Attributes:
        root: the folder.
        names: relative to it, sorted.
        sizes: of each, in bytes.
        changed: when each was changed, in seconds.
        folders: all folders below it.
        left_out: number of what is no file, by kind.
    """

    root: str
    names: Sequence[str]
    sizes: Sequence[int]
    changed: Sequence[float]
    folders: Sequence[str]
    left_out: dict[str, int]

    @property
    def kinds(self) -> dict[str, int]:
        """The number of files of each ending."""
        endings = (os.path.splitext(name)[1].lower() or "no extension" for name in self.names)  # noqa: PTH122
        return dict(Counter(endings).most_common())

    @property
    def empty_folders(self) -> list[str]:
        """Folders without files in them or below."""
        filled = {""}
        for name in self.names:
            folder = name.rpartition("/")[0]
            while folder not in filled:
                filled.add(folder)
                folder = folder.rpartition("/")[0]
        return sorted(set(self.folders) - filled)


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        found: the files.
        shards: the shards that hold them.
        num_kept: how many of these an interrupted pack had written already.
    """

    found: Found
    shards: Sequence[Shard]
    num_kept: int


def pack(
    folder: str, out: str, *, shard_bytes: int = SHARD_BYTES, overwrite: bool = False, say: Callable[[int, int], Any]
) -> Packed:
    """Write the files of a folder to shards in the folder `out`; both may be in an object store.

    An interrupted pack of the same folder is resumed.

    Args:
        folder: the files.
        out: a new or empty folder, or one with a pack.
        shard_bytes: size of a shard, which its last file may exceed.
        overwrite: whether to replace a complete pack, or one of another folder.
        say: told how many files are packed, and how many there are, whenever a shard is complete.

    Raises:
        ConfigError: `out` is inside of `folder`, or holds a pack that must not be replaced.
        DataError: a file cannot be read or changes meanwhile, or a shard cannot be written.
    """
    _refuse_nested(folder, out)
    header = {"source": folder, "shard_bytes": shard_bytes}
    earlier = pack_writing.find_earlier(out)
    resumes = earlier is not None and not earlier.get("complete") and header.items() <= earlier.items()
    if earlier is not None and not (resumes or overwrite):
        state = "a pack" if earlier.get("complete") else "an unfinished pack"
        message = f"already holds {state} of '{earlier.get('source')}'"
        raise ConfigError(Problem(out, f"{message}. `--overwrite` replaces it; otherwise name another folder"))
    found = find_files(folder)
    if earlier is not None and not resumes:
        pack_writing.remove_pack(out)
    pack_writing.write_manifest(out, {"complete": False, **header})
    shards: list[Shard] = []
    num_kept = 0
    for number, groups in enumerate(divide(found.sizes, shard_bytes)):
        begin, end = groups[0][0], groups[-1][1]
        names, sizes = found.names[begin:end], found.sizes[begin:end]
        kept = None
        if resumes:
            kept = pack_writing.find_shard(out, number, names, sizes, after=max(found.changed[begin:end]))
        num_kept += kept is not None
        shards.append(kept or pack_writing.write_shard(out, number, _read(found, groups)))
        say(end, len(found.names))
    _finish(out, found, shards, header)
    return Packed(found, shards, num_kept)


def _finish(out: str, found: Found, shards: Sequence[Shard], header: dict[str, Any]) -> None:
    """Write the index and, last, the manifest that makes the pack complete."""
    count = sum(len(shard.begins) for shard in shards)
    if count != len(found.names):
        raise DataError(Problem(out, f"holds {count:,} files of {len(found.names):,}"))
    content = {
        "complete": True,
        **header,
        "files": count,
        "bytes": sum(found.sizes),
        "kinds": found.kinds,
        "empty_folders": found.empty_folders,
        "left_out": found.left_out,
        "index_bytes": pack_writing.write_index(out, found.names, shards, found.sizes),
        "shards": [{"name": s.name, "files": len(s.begins), "bytes": s.size} for s in shards],
    }
    pack_writing.write_manifest(out, content)


def find_files(folder: str) -> Found:
    """All files below a folder, whatever their kind; not hidden ones, and not what systems add.

    Raises:
        DataError: there are none, or one cannot be packed.
    """
    with explaining(folder, "cannot be listed"):
        if find_container(folder) is not None:
            raise DataError(Problem(folder, "is in shards already, which can be used as it is: `input_path` reads it"))
        if not storage.is_folder(folder):
            raise DataError(Problem(folder, "no such folder"))
        found = _find_in_store(folder) if storage.is_uri(folder) else _find_here(folder)
    if not found.names:
        raise DataError(Problem(folder, "holds no files to pack"))
    strange = [name for name in found.names if "//" in name or not _is_unicode(name)]
    if strange:
        expected = "Expected names in UTF-8, without empty parts"
        raise DataError(Problem(folder, f"cannot pack {quote_some(strange)}. {expected}"))
    large = [name for name, size in zip(found.names, found.sizes, strict=True) if size > MOST_BYTES]
    if large:
        expected = f"Expected files of at most {format_bytes(MOST_BYTES)}: leave larger ones as they are"
        raise DataError(Problem(folder, f"cannot pack {quote_some(large)}. {expected}"))
    return found


def divide(sizes: Sequence[int], shard_bytes: int) -> Iterator[list[Group]]:
    """The row groups of each shard, for files of these sizes in bytes."""
    groups: list[Group] = []
    begin = in_group = in_shard = 0
    for number, size in enumerate(sizes):
        in_group, in_shard = in_group + size, in_shard + size
        is_full = in_shard >= shard_bytes or number == len(sizes) - 1
        if is_full or in_group >= ROW_GROUP_BYTES or number + 1 - begin >= ROW_GROUP_FILES:
            groups.append((begin, number + 1))
            begin, in_group = number + 1, 0
        if is_full:
            yield groups
            groups, in_shard = [], 0


def _refuse_nested(folder: str, out: str) -> None:
    """Raise ConfigError if the shards would be among the files."""
    inner, outer = (storage.decoded(path).rstrip("/") + "/" for path in (out, folder))
    if not storage.is_uri(folder) and not storage.is_uri(out):
        inner, outer = (os.path.realpath(path) + "/" for path in (out, folder))
    if inner.startswith(outer):
        raise ConfigError(Problem(out, f"is inside of '{folder}'. Expected a folder elsewhere"))


def _find_here(folder: str) -> Found:
    names: list[str] = []
    left_out: Counter[str] = Counter()
    folders = scan(folder, _Any(), names, left_out)
    names = sorted(name for name in names if name.rpartition("/")[2].lower() not in METADATA)
    with explaining(folder, "cannot be packed"):
        states = [os.stat(f"{folder}/{name}") for name in names]  # noqa: PTH116 (a million)
    sizes, changed = [state.st_size for state in states], [state.st_mtime for state in states]
    return Found(folder, names, sizes, changed, folders, dict(left_out))


def _find_in_store(folder: str) -> Found:
    states = {name: state for name, state in storage.walk_states(folder).items() if not is_below_passed(name)}
    states = {name: state for name, state in states.items() if name.rpartition("/")[2].lower() not in METADATA}
    return Found(folder, list(states), [size for size, _ in states.values()], [t for _, t in states.values()], [], {})


class _Any(frozenset[str]):
    """The extensions of all files."""

    def __contains__(self, extension: object) -> bool:
        return True


def _is_unicode(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def _read(found: Found, groups: Sequence[Group]) -> Iterator[Rows]:
    """The contents of the files, row group by row group, read some files ahead."""
    contents = _read_ahead(found, groups[0][0], groups[-1][1])
    for begin, end in groups:
        names = found.names[begin:end]
        labels = [name.rpartition("/")[0].rpartition("/")[2] or None for name in names]
        yield Rows(names, labels, [next(contents) for _ in names])


def _read_ahead(found: Found, begin: int, end: int) -> Iterator[bytes]:
    reading: collections.deque[tuple[int, Future[bytes]]] = collections.deque()
    ahead, following = 0, begin
    with ThreadPoolExecutor(_THREADS) as threads:
        while following < end or reading:
            while following < end and (not reading or (ahead < _AHEAD_BYTES and len(reading) < _AHEAD_FILES)):
                reading.append((following, threads.submit(_read_one, found, following)))
                ahead += found.sizes[following]
                following += 1
            number, future = reading.popleft()
            ahead -= found.sizes[number]
            yield future.result()


def _read_one(found: Found, number: int) -> bytes:
    path = file_below(found.root, found.names[number]).path
    with explaining(path, "cannot be read"):
        content = storage.read(path)
    if len(content) != found.sizes[number]:
        message = f"has changed while it was packed: {len(content):,} bytes instead of {found.sizes[number]:,}"
        raise DataError(Problem(path, f"{message}. Run the command again when nothing writes to the folder"))
    return content
