"""Writing packs: each file gets its name when it is complete and checked, and the manifest is written last."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from rayrml.errors import DataError, Problem, explaining
from rayrml.storage.containers import MANIFEST
from rayrml.storage.files import read, remove
from rayrml.storage.packs import FORMAT, INDEX, INDEX_SCHEMA, VERSION, list_sizes, read_manifest
from rayrml.storage.paths import is_uri, join
from rayrml.storage.unfinished import Unfinished, write

ROW_GROUP_BYTES, ROW_GROUP_FILES = 2**23, 10_000  # a page has at most 20,000 rows, and there is one in a row group
MOST_BYTES = 2**30  # of a file; a page of Parquet has less than 2 GiB
_LENGTH = 4  # bytes before each value that tell its size. Source: Parquet's encodings, "Plain"
_SHARD = re.compile(r"\d{5,}\.parquet")
_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)


class Shard(NamedTuple):
    """A shard that is in place.

    Attributes:
        name: in its folder.
        size: in bytes.
        begins: (n,) int64, where the content of each of its files begins.
    """

    name: str
    size: int
    begins: np.ndarray


class Rows(NamedTuple):
    """The files of a row group: names, labels (None for files in no folder) and contents."""

    names: Sequence[str]
    labels: Sequence[str | None]
    contents: Sequence[bytes]


def shard_name(number: int) -> str:
    """The name of a shard of a pack."""
    return f"{number:05}.parquet"


def write_shard(folder: str, number: int, groups: Iterable[Rows]) -> Shard:
    """Write a shard of these row groups.

    Raises:
        DataError: it cannot be written, or does not hold what was written.
    """
    path = join(folder, shard_name(number))
    sums: list[int] = []
    sizes: list[list[int]] = []
    with explaining(path, "cannot be written", (OSError, pa.ArrowException)), Unfinished(path) as file:
        options: dict[str, Any] = {
            "use_dictionary": ["label"],
            "write_statistics": ["name"],
            "data_page_size": 2**31 - 1,
        }
        options["compression"] = {"name": "zstd", "label": "zstd", "size": "zstd", "bytes": "none"}
        with parquet.ParquetWriter(file, _SCHEMA, **options) as writer:
            for rows in groups:
                sizes.append(list(map(len, rows.contents)))
                sums += map(zlib.crc32, rows.contents)
                writer.write_table(pa.table([rows.names, rows.labels, sizes[-1], rows.contents], schema=_SCHEMA))
        begins = _find_begins(parquet.read_metadata(file.path), sizes, path)
        for begin, size, crc in zip(begins, np.concatenate(sizes), sums, strict=True):
            written = os.pread(file.fileno(), int(size) + _LENGTH, int(begin) - _LENGTH)
            if int.from_bytes(written[:_LENGTH], "little") != size or zlib.crc32(memoryview(written)[_LENGTH:]) != crc:
                raise DataError(Problem(path, "does not hold what was written. Expected a disk without faults"))
        size = os.fstat(file.fileno()).st_size
        file.commit()
    return Shard(shard_name(number), size, begins)


def find_shard(folder: str, number: int, names: Sequence[str], sizes: Sequence[int], *, after: float) -> Shard | None:
    """The shard of these files that an interrupted pack has left, None unless it is whole and was made `after` that."""
    path = join(folder, shard_name(number))
    try:
        changed, size = _state(path)
        if changed <= after:
            return None
        with parquet.ParquetFile(io.BytesIO(read(path)) if is_uri(path) else path) as file:
            if not file.schema_arrow.equals(_SCHEMA):
                return None
            table = file.read(columns=["name", "size"])
            if table["name"].to_pylist() != list(names) or table["size"].to_pylist() != list(sizes):
                return None
            ends = np.cumsum([0, *(file.metadata.row_group(g).num_rows for g in range(file.num_row_groups))])
            groups = [list(sizes[begin:end]) for begin, end in itertools.pairwise(ends)]
            return Shard(shard_name(number), size, _find_begins(file.metadata, groups, path))
    except (OSError, pa.ArrowException, DataError):
        return None


def _state(path: str) -> tuple[float, int]:
    if is_uri(path):
        from rayrml.storage import remote

        found = remote.information(path)
        return (found.mtime_ns or 0) / 1e9, found.size or 0
    status = os.stat(path)  # noqa: PTH116 (a string)
    return status.st_mtime, status.st_size


def _find_begins(metadata: Any, sizes: Sequence[Sequence[int]], path: str) -> np.ndarray:
    """Where each file begins: a page ends with its values, which are as long as they and their lengths."""
    begins: list[np.ndarray] = []
    for number, own in enumerate(sizes):
        column = metadata.row_group(number).column(_SCHEMA.get_field_index("bytes"))
        lengths = np.array(own, np.int64) + _LENGTH
        end = column.data_page_offset + column.total_compressed_size
        begins.append(end - lengths.sum() + np.cumsum(lengths) - lengths + _LENGTH)
        if column.compression != "UNCOMPRESSED" or begins[-1][0] < column.data_page_offset:
            raise DataError(Problem(path, "is not stored as it should be. Expected another version of pyarrow"))
    return np.concatenate(begins) if begins else np.empty(0, np.int64)


def write_index(folder: str, names: Sequence[str], shards: Sequence[Shard], sizes: Sequence[int]) -> int:
    """Write the index of all files; returns its size in bytes."""
    shard_of = np.repeat(np.arange(len(shards), dtype=np.uint32), [len(shard.begins) for shard in shards])
    begins = np.concatenate([shard.begins for shard in shards])
    table = pa.table([pa.array(names, pa.string()), shard_of, begins, np.array(sizes, np.int64)], schema=INDEX_SCHEMA)
    path = join(folder, INDEX)
    with explaining(path, "cannot be written", (OSError, pa.ArrowException)), Unfinished(path) as file:
        parquet.write_table(table, file, compression="zstd", use_dictionary=False)
        size = os.fstat(file.fileno()).st_size
        file.commit()
    return size


def write_manifest(folder: str, content: dict[str, Any]) -> None:
    """Write the manifest, which makes a pack complete if it says so."""
    path = join(folder, MANIFEST)
    with explaining(path, "cannot be written"):
        write(path, f"{json.dumps({'format': FORMAT, 'version': VERSION, **content}, indent=1)}\n".encode())


def find_earlier(folder: str) -> dict[str, Any] | None:
    """The manifest of the pack in a folder, None if the folder is empty or missing.

    Raises:
        DataError: there is something else in it.
    """
    with explaining(folder, "cannot be listed"):
        try:
            found = list_names(folder)
        except FileNotFoundError:
            return None
    if MANIFEST in found:
        return read_manifest(folder)
    if found:
        raise DataError(Problem(folder, f"is not empty, and not a pack: it holds '{found[0]}'. Expected a new folder"))
    return None


def list_names(folder: str) -> list[str]:
    """The names of all that is in a folder, without what is unfinished."""
    names = list_sizes(folder) if is_uri(folder) else os.listdir(folder)  # noqa: PTH208 (strings)
    return sorted(name for name in names if not name.endswith(".unfinished"))


def remove_pack(folder: str) -> None:
    """Remove a pack, its manifest first, and no other file."""
    with explaining(folder, "cannot be emptied"):
        for name in (MANIFEST, INDEX, *filter(_SHARD.fullmatch, list_names(folder))):
            remove(join(folder, name))
