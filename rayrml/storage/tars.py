"""WebDataset's tar files, read without unpacking them: their headers tell where each file begins.

Files whose names differ only after the first dot of their last part belong together: `000001.cls` holds the class of
`000001.jpg`. Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import dataclasses
import io
import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from rayrml.errors import DataError, Problem, describe
from rayrml.storage.containers import Container
from rayrml.storage.paths import is_uri, split
from rayrml.storage.tar_names import UNPACK, list_shards, version_of

_CLASS = ".cls"
_MOST_CLASS_BYTES, _MOST_AT_ONCE = 256, 2**24
_PIECE = 2**20  # of a store that is read at a time: as long as a request takes to begin
_THREADS = 16
_BLOCK = 512
_COMPRESSIONS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


@dataclasses.dataclass
class _Found:
    """The files in a tar file: names, where they begin, sizes; the classes by key, and the number of links and such."""

    names: list[str] = dataclasses.field(default_factory=list)
    begins: list[int] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)
    classes: dict[str, str] = dataclasses.field(default_factory=dict)
    num_links: int = 0


def open_tars(path: str) -> Container:
    """The files in the tar files at a path: a file, a pattern with braces, or a folder.

    Raises:
        DataError: one is missing, compressed or damaged, or several files have the same name.
    """
    shards = list_shards(path, searched=True) or []
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(_index, shards))
    own = [shard for shard, one in enumerate(found) for _ in one.names]
    names = _without_duplicates([name for one in found for name in one.names], own, shards, path)
    classes = _classes(found)
    order = sorted(range(len(names)), key=names.__getitem__)
    kept = [row for row in order if not names[row].lower().endswith(_CLASS)]
    begins = np.array([begin for one in found for begin in one.begins], np.int64)
    sizes = np.array([size for one in found for size in one.sizes], np.int64)
    listed = pa.array([names[row] for row in kept], pa.string())
    from rayrml.storage.packs import folders_of

    rows = np.array(kept, np.int64)
    return Container(
        path,
        listed,
        tuple(shards),
        np.array(own, np.uint32)[rows],
        begins[rows],
        sizes[rows],
        tuple(sorted(folders_of(listed))),
        {"link in tar files": links} if (links := sum(one.num_links for one in found)) else {},
        None if classes is None else [classes[row] for row in kept],
    )


class _Pieces(io.RawIOBase):
    """A file of a store, of which only the pieces around what is asked for are read."""

    def __init__(self, uri: str, size: int):
        self._uri, self._size = uri, size
        self._at = self._start = 0
        self._piece = b""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int | None = -1, /) -> bytes:
        from rayrml.storage import remote

        count = max(min(_checked(count), self._size - self._at), 0)
        if not self._start <= self._at <= self._at + count <= self._start + len(self._piece):
            self._piece = remote.read_range(self._uri, self._at, max(count, _PIECE))
            self._start = self._at
        begin = self._at - self._start
        found = self._piece[begin : begin + count]
        self._at += len(found)
        return found


class _Local(io.FileIO):
    """A file of this machine."""

    def read(self, count: int | None = -1, /) -> bytes:
        return super().read(_checked(count)) or b""


def _checked(count: int | None) -> int:
    """So many bytes, if headers need no more. Raises ValueError: a damaged header may claim to have any length."""
    if count is None or not 0 <= count <= _MOST_AT_ONCE:
        raise ValueError(f"It has a header of {count} bytes")
    return count


def _index(shard: str) -> _Found:
    """What is in a tar file. Raises DataError."""
    version = version_of(shard)
    if not isinstance(version, tuple):
        raise DataError(Problem(shard, "no such file. Expected all tar files of the pattern"))
    size = int(version[0])
    try:
        with _Pieces(shard, size) if is_uri(shard) else _Local(shard) as file:
            return _read_headers(file, shard, size)
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(Problem(shard, f"cannot be read as a tar file. {describe(error)}")) from None


def _read_headers(file: _Pieces | _Local, shard: str, size: int) -> _Found:
    start = file.read(_BLOCK)
    if start.startswith(_COMPRESSIONS):
        raise DataError(Problem(shard, f"is compressed. {UNPACK}"))
    file.seek(0)
    found = _Found()
    with tarfile.TarFile(fileobj=file) as archive:  # pyright: ignore[reportArgumentType]
        while (info := archive.next()) is not None:
            vars(archive)["members"].clear()  # which would take a kilobyte for each
            if info.issparse():
                message = f"'{info.name}' is stored with holes"
                raise DataError(Problem(shard, f"{message}. Expected an archive made without `--sparse`"))
            if not info.isreg():
                found.num_links += not info.isdir()
                continue
            if info.offset_data + info.size > size:
                raise DataError(Problem(shard, f"is truncated: '{info.name}' ends after the file does"))
            _add(found, info, file)
        end = archive.offset
    _check_end(file, shard, end, size)
    return found


def _add(found: _Found, info: tarfile.TarInfo, file: _Pieces | _Local) -> None:
    """Add a file. Raises ValueError for a name that no file can have."""
    name = posixpath.normpath(info.name)
    if "\0" in name or name.startswith(("/", "../")):
        raise ValueError(f"It has a file named {name!r}")
    name.encode()  # names that are not UTF-8 raise a ValueError, too
    found.names.append(name)
    found.begins.append(info.offset_data)
    found.sizes.append(info.size)
    if name.lower().endswith(_CLASS):
        file.seek(info.offset_data)
        text = file.read(min(info.size, _MOST_CLASS_BYTES))
        found.classes[_key(name)] = text.decode(errors="replace").strip() if info.size <= _MOST_CLASS_BYTES else ""


def _check_end(file: _Pieces | _Local, shard: str, end: int, size: int) -> None:
    """Raise DataError unless the file has the blocks of zeros that end it, and nothing after them."""
    file.seek(end)
    rest = b""
    while len(rest) < _PIECE and (part := file.read(_PIECE - len(rest))):
        rest += part
    if len(rest) < _BLOCK:
        raise DataError(Problem(shard, f"is truncated: it has {size:,} bytes, and no block that marks its end"))
    if rest.strip(b"\0"):
        message = f"is damaged at byte {end:,}, or another archive follows there, which would not be read"
        raise DataError(Problem(shard, f"{message}. Expected one archive in a file"))


def _key(name: str) -> str:
    """What the names of files that belong together have in common."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _without_duplicates(names: list[str], own: Sequence[int], shards: Sequence[str], path: str) -> list[str]:
    """The names; preceded by that of their tar file if files of several have the same.

    Raises:
        DataError: a tar file has two of the same name; or files would get the name of their tar file as their class.
    """
    if len(set(names)) == len(names):
        return names
    counts = Counter(zip(own, names, strict=True))
    twice = [(shard, name) for (shard, name), count in counts.items() if count > 1]
    if twice:
        shard, name = twice[0]
        raise DataError(Problem(shards[shard], f"has several files named '{name}'. Expected each name once"))
    keys = {(shard, _key(name)) for shard, name in counts if name.lower().endswith(_CLASS)}
    if any((shard, _key(name)) not in keys and "/" not in name for shard, name in counts):
        name = next(name for name, count in Counter(names).items() if count > 1)
        message = f"several tar files have a file named '{name}', and not every image has a class in a file '.cls'"
        raise DataError(Problem(path, f"{message}. Expected each name once"))
    stems = [os.path.splitext(split(shard)[1])[0] for shard in shards]  # noqa: PTH122 (names)
    return [f"{stems[shard]}/{name}" for shard, name in zip(own, names, strict=True)]


def _classes(found: Sequence[_Found]) -> list[str | None] | None:
    """The class of each file by a member of its own, None if there are none such."""
    if not any(one.classes for one in found):
        return None
    return [one.classes.get(_key(name)) for one in found for name in one.names]
