"""Folders that `rayrml pack` wrote: Parquet shards, an index of the files in them, and a manifest.

A shard has the columns `name`, `label` and `bytes`, which any program for Parquet reads. `bytes` is neither compressed
nor encoded, and a row group has one page of it, so that each file is a range of bytes of its shard. Reading whole row
groups instead would fetch 8 MiB for a single file, if files are read in random order.
"""

from __future__ import annotations

import importlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from rayrml.errors import DataError, Problem, explaining
from rayrml.storage.containers import MANIFEST, Container
from rayrml.storage.files import read
from rayrml.storage.paths import is_uri, join

INDEX = "index.parquet"
pc: Any = importlib.import_module("pyarrow.compute")  # its functions are made when it is imported
FORMAT, VERSION = "rayrml pack", 1
_AGAIN = "Expected all files that `rayrml pack` wrote: copy them again, or pack again"
INDEX_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("shard", pa.uint32(), nullable=False),
        pa.field("begin", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)


def read_manifest(path: str) -> dict[str, Any]:
    """The manifest in a folder. Raises DataError if it is damaged, or of another format."""
    manifest = join(path, MANIFEST)
    with explaining(manifest, "cannot be read", (OSError, ValueError)):
        content = json.loads(read(manifest))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(Problem(manifest, f"is not a manifest of `rayrml pack`. {_AGAIN}"))
    if content.get("version") != VERSION:
        message = f"has version {content.get('version')}, but this rayrml reads {VERSION}"
        raise DataError(Problem(manifest, f"{message}. Update rayrml with `pip install -U rayrml`"))
    return content


def open_pack(path: str) -> Container:
    """The files in the shards of a folder.

    Raises:
        DataError: a pack was interrupted, or a shard is missing, has another size or belongs to another pack.
    """
    manifest = read_manifest(path)
    if manifest.get("complete") is not True:
        message = f"was not finished: `rayrml pack` of '{manifest.get('source')}' was interrupted"
        raise DataError(Problem(path, f"{message}. Expected it to be completed: run it again, and it resumes"))
    try:
        shards = {str(shard["name"]): (int(shard["bytes"]), int(shard["files"])) for shard in manifest["shards"]}
        expected = {name: size for name, (size, _) in shards.items()} | {INDEX: int(manifest["index_bytes"])}
        folders = [str(folder) for folder in manifest["empty_folders"]]
        left_out = {str(kind): int(count) for kind, count in manifest["left_out"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(Problem(join(path, MANIFEST), f"is damaged. {_AGAIN}")) from None
    _check_files(path, expected)
    with explaining(join(path, INDEX), "cannot be read", (OSError, pa.ArrowException)):
        table = parquet.read_table(io.BytesIO(read(join(path, INDEX)))).cast(INDEX_SCHEMA).combine_chunks()
    names = table["name"].combine_chunks()
    shard_of, begins, sizes = (table[name].to_numpy() for name in ("shard", "begin", "size"))
    counts = np.bincount(shard_of, minlength=len(shards)).tolist()
    if counts != [count for _, count in shards.values()] or not _fits(names, begins, sizes):
        raise DataError(Problem(join(path, INDEX), f"does not match the shards. {_AGAIN}"))
    return Container(
        path,
        names,
        tuple(join(path, name) for name in shards),
        shard_of,
        begins,
        sizes,
        tuple(sorted({*folders_of(names), *folders})),
        left_out,
    )


def folders_of(names: pa.Array) -> set[str]:
    """The folders of files and all those above them, and "" for that of all."""
    found = {""}
    for folder in pc.unique(pc.replace_substring_regex(names, r"(^|/)[^/]*$", "")).to_pylist():
        parts = folder.split("/")
        found.update("/".join(parts[: count + 1]) for count in range(len(parts)))
    return found


def _fits(names: pa.Array, begins: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether the names are sorted, without duplicates and zeros, and ranges do not begin before their file."""
    if pc.any(pc.match_substring(names, "\0")).as_py():
        return False
    ascending = len(names) < 2 or pc.all(pc.less(names[:-1], names[1:])).as_py()
    return bool(ascending) and bool((begins >= 4).all()) and bool((sizes >= 0).all())


def _check_files(path: str, expected: Mapping[str, int]) -> None:
    """Raise DataError unless the folder has the expected files of these sizes, and no other shards."""
    with explaining(path, "cannot be listed"):
        found = list_sizes(path)
    missing = [name for name in expected if name not in found]
    if missing:
        raise DataError(Problem(path, f"lacks {_quoted(missing)} of its {len(expected) - 1} shards. {_AGAIN}"))
    changed = [name for name, size in expected.items() if found[name] != size]
    if changed:
        size = f"{found[changed[0]]:,} bytes instead of {expected[changed[0]]:,}"
        more = f", as {len(changed) - 1} more do" if len(changed) > 1 else ""
        raise DataError(Problem(join(path, changed[0]), f"has {size}{more}. {_AGAIN}"))
    strange = sorted(name for name in found if name.endswith(".parquet") and name not in expected)
    if strange:
        message = f"holds {_quoted(strange)}, which {MANIFEST} does not list"
        raise DataError(Problem(path, f"{message}. Expected one pack in a folder: move other files elsewhere"))


def list_sizes(path: str) -> dict[str, int]:
    """The sizes of the files directly in a folder, by their names."""
    if is_uri(path):
        from rayrml.storage import remote

        base, found = remote.listed(path, recursive=False)
        return {info.path[len(base) + 1 :]: info.size for info in found if remote.is_file(info)}
    with os.scandir(path) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}


def _quoted(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
