"""Operations on files and folders, local or in object stores. Local ones use the system's own calls."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

from rayrml.storage.members import find_member, is_member, read_member, stored_in
from rayrml.storage.paths import is_uri

Anywhere = str | os.PathLike[str]


def exists(path: Anywhere) -> bool:
    """Whether there is a file or folder. Raises OSError if the path cannot be accessed."""
    return _kind(path) is not None


def is_file(path: Anywhere) -> bool:
    """Whether there is a file. Raises OSError if the path cannot be accessed."""
    return _kind(path) == "file"


def is_folder(path: Anywhere) -> bool:
    """Whether there is a folder; an empty bucket counts as one. Raises OSError as `exists` does."""
    return _kind(path) == "folder"


def link(source: str, target: str) -> bool:
    """Let `target` be another name of the file `source`, replacing what it was; whether the file system can do that.

    Neither name must be written to in place from then on.
    """
    if is_uri(source) or is_uri(target):
        return False
    temporary = f"{target}.{os.getpid()}.link"
    try:
        os.link(source, temporary)
        os.replace(temporary, target)  # noqa: PTH105 (strings)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        return False
    return True


def read(path: Anywhere) -> bytes:
    """The content of a file."""
    if (member := find_member(path)) is not None:
        return read_member(os.fspath(path), member)
    return remote().read(os.fspath(path)) if is_uri(path) else Path(path).read_bytes()


def read_start(path: Anywhere, count: int) -> bytes:
    """The first `count` bytes of a file, or all of a shorter one."""
    if (member := find_member(path)) is not None:
        return read_member(os.fspath(path), member, count)
    if is_uri(path):
        return remote().read_start(os.fspath(path), count)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (strings, by the hundred thousand)
        return file.read(count)


def files(folder: Anywhere) -> dict[str, float]:
    """The sorted names of the files in a folder, with their modification times; empty if there is no such folder."""
    if is_uri(folder):
        base, found = remote().listed(os.fspath(folder), recursive=False)
        changed = {info.path[len(base) + 1 :]: info.mtime_ns / 1e9 for info in found if remote().is_file(info)}
        return dict(sorted(changed.items()))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return {e.name: e.stat().st_mtime for e in sorted(entries, key=lambda e: e.name) if e.is_file()}
    return {}


def list_folder(folder: str) -> tuple[list[str], list[str]]:
    """The names of the files and of the folders directly in a folder, also in one that is packed.

    Raises:
        OSError: it cannot be listed.
        DataError: it is packed, but incomplete.
    """
    from rayrml.storage.containers import MANIFEST, find_container

    files: list[str] = []
    folders: list[str] = []
    if is_uri(folder):
        base, found = remote().listed(folder, recursive=False)
        for info in found:
            (files if remote().is_file(info) else folders).append(info.path[len(base) + 1 :])
    # In a store each question takes requests, and a folder that has other files than those of a pack is none.
    if (not (files or folders) or MANIFEST in files) and (found := find_container(folder)) is not None:
        container, below = found
        return container.list_folder(below)
    if not is_uri(folder):
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if _leads_to_folder(entry) else files).append(entry.name)
    return sorted(files), sorted(folders)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def walk(folder: str) -> tuple[list[str], list[str]]:
    """The files and folders below a folder, relative to it; links to folders are not followed."""
    if not is_uri(folder):
        files, folders = list[str](), list[str]()
        for place, below, names in os.walk(folder):
            prefix = os.path.relpath(place, folder) + "/" if place != folder else ""
            folders += [prefix + name for name in below]
            files += [prefix + name for name in names]
        return sorted(files), sorted(folders)
    base, found = remote().walked(folder)
    files, folders = [], []
    for info in found:
        (files if remote().is_file(info) else folders).append(info.path[len(base) + 1 :])
    return sorted(files), sorted(folders)


def walk_states(folder: str) -> dict[str, tuple[int, float]]:
    """The size and the modification time of each file below a folder of a store, in the order of their names."""
    base, found = remote().walked(folder)
    files = {info.path[len(base) + 1 :]: (info.size, info.mtime_ns / 1e9) for info in found if remote().is_file(info)}
    return dict(sorted(files.items()))


def remove(path: Anywhere) -> None:
    """Remove a file if it exists."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        remote().remove(os.fspath(path)) if is_uri(path) else os.remove(path)  # noqa: PTH107


def move(source: str, target: str) -> None:
    """Rename a file, also into another folder, which is made if it is missing."""
    if is_uri(source):
        remote().move(source, target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120 (strings)
        os.replace(source, target)  # noqa: PTH105


def local_copy(path: Anywhere) -> str:
    """The path of a local file with the same content: the file itself, unless it must be fetched first."""
    if not is_uri(path) and not is_member(path):
        return os.fspath(path)
    from rayrml.storage.cache import fetched

    return fetched(os.fspath(path))


def remote() -> Any:
    """The module for object stores, which is slow to import."""
    from rayrml.storage import remote

    return remote


def _kind_in_container(path: Anywhere) -> str | None:
    containers = sys.modules.get("rayrml.storage.containers")  # unless it was imported, no container is known
    return None if containers is None else containers.known_kind(os.fspath(path))


def _kind(path: Anywhere) -> str | None:
    if is_uri(path):
        return remote().kind(stored_in(os.fspath(path))) or _kind_in_container(path)
    try:
        mode = os.stat(stored_in(os.fspath(path))).st_mode  # noqa: PTH116 (a string)
    except (FileNotFoundError, NotADirectoryError):
        return _kind_in_container(path)
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"
