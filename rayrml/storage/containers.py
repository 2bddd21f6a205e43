"""Folders whose files are in shards: what is in them, as a file system would tell.

A container is a folder that `rayrml pack` wrote, or WebDataset's tar files: a folder of them, one of them, or several
by a pattern such as `train-{0000..0099}.tar`. Ray Data's own readers are not used: they hand over all rows of a block,
where a shuffled epoch needs single files of many, in an order that is the same as that of a folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayrml.storage.paths import is_uri, join, split
from rayrml.storage.tar_names import state_of_tars

MANIFEST = "rayrml_pack.json"


@dataclasses.dataclass(frozen=True)
class Container:
    """The files in some shards, in the order of their names.

    Attributes:
        path: the folder that they are in, or seem to be in.
        names: of the files, relative to that folder: an array of strings of pyarrow.
        shards: paths of the shards.
        shard_of: (n,) uint32, the shard of each file.
        begins: (n,) int64, where each file begins in its shard.
        sizes: (n,) int64, of each file.
        folders: the folders below, relative to it, and "" for itself.
        left_out: number of files that cannot be read, by what they are.
        classes: (n,) what names the class of each file by a member of its own; None if none do.
    """

    path: str
    names: Any
    shards: tuple[str, ...]
    shard_of: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    folders: tuple[str, ...]
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    classes: Sequence[str | None] | None = None

    def list_folder(self, below: str) -> tuple[list[str], list[str]]:
        """The names of the files and of the folders directly in a folder, "" for the container itself."""
        prefix = f"{below}/" if below else ""
        files = [name[len(prefix) :] for name in self.names.to_pylist() if name.startswith(prefix)]
        folders = [folder[len(prefix) :] for folder in self.folders if folder and folder.startswith(prefix)]
        return [name for name in files if "/" not in name], sorted(name for name in folders if "/" not in name)


_known: dict[str, tuple[Any, Container]] = {}  # with the state of the files by which it was opened
_locking = threading.Lock()


def find_container(path: str) -> tuple[Container, str] | None:
    """The container at `path`, or above a path that does not exist, and the folder in it; None if there is none.

    Raises:
        DataError: there is one that cannot be used.
        OSError: the path cannot be accessed.
    """
    below: list[str] = []
    at = path.rstrip("/") or path
    while True:
        container = open_container(at)
        if container is not None:
            inside = "/".join(reversed(below))
            return (container, inside) if inside in container.folders else None
        above, name = split(at)
        if not name or above == at or (not below and _exists(at)):
            return None
        below.append(name)
        at = above


def known_kind(path: str) -> str | None:
    """What a path that no file system has is in the containers that this process has opened, None if nothing."""
    for root, (_, container) in list(_known.items()):
        below = path[len(root) + 1 :]
        if path == root or (path.startswith(f"{root}/") and below in container.folders):
            return "folder"
    return None


def open_container(path: str, *, searched: bool = False) -> Container | None:
    """The container at `path` itself, opened once and again when its files change; None if there is none.

    A folder of a store is listed for tar files only if it was `searched` for others, and there are none.
    """
    is_pack = (state := _state_of_pack(path)) is not None
    if (state := state if is_pack else state_of_tars(path, searched=searched)) is None:
        return None
    with _locking:
        if (kept := _known.get(path)) is None or kept[0] != state:
            _known[path] = kept = state, _opened(path, is_pack=is_pack)
        return kept[1]


def _opened(path: str, *, is_pack: bool) -> Container:
    if is_pack:  # pyarrow is slow to import
        from rayrml.storage.packs import open_pack

        return open_pack(path)
    from rayrml.storage.tars import open_tars

    return open_tars(path)


def _state_of_pack(path: str) -> tuple[int, int] | None:
    """What changes when another manifest is written to a folder; None if it has none."""
    manifest = join(path, MANIFEST)
    if is_uri(path):
        from rayrml.storage import remote

        try:
            found = remote.information(manifest)
        except PermissionError:  # stores deny files that are not there, too; the listing that follows tells the user
            return None
        return (found.size, found.mtime_ns or 0) if remote.is_file(found) else None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(manifest)  # noqa: PTH116 (a string)
        return status.st_size, status.st_mtime_ns
    return None


def _exists(path: str) -> bool:
    if not is_uri(path):
        return os.path.lexists(path)
    from rayrml.storage import remote

    return remote.kind(path) is not None
