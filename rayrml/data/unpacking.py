"""Unpacking: the images of Parquet files, or the files of shards, into folders that are read like any others.

Parquet files of data sets compress their images together, so that none can be read by itself. Their classes become
folders, and the parts of the data set, which the names of the files tell, become folders above these.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.data.data_set_folders import find_part, name_classes
from rayrml.data.data_set_rows import Rows, Unpacked
from rayrml.data.discovery import quote_some
from rayrml.data.readers.images import IMAGE_EXTENSIONS
from rayrml.data.scanning import scan, scan_store
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.storage.containers import Container, find_container, open_container

_MOST_PREFIX = 50  # characters of a name


def unpack(source: str, out: str, *, label: str | None = None, say: Callable[[int, int], Any]) -> Unpacked:
    """Write the files that are in shards, or the images of Parquet files, to a new folder on this machine.

    The folder appears when it is complete.

    Args:
        source: a Parquet file, a folder of such files, a packed folder, or tar files; may be in an object store.
        out: the new folder.
        label: the column of Parquet files that tells the classes; "none" if none does. By default it is found.
        say: told how many files are written, and how many there are.

    Raises:
        ConfigError: `out` is not empty or in a store, or several columns may tell the classes.
        DataError: the files cannot be read, or are not complete.
    """
    if storage.is_uri(out):
        raise ConfigError(Problem(out, "expected a folder on this machine: `rayrml pack` writes to stores"))
    if os.path.lexists(out) and not (os.path.isdir(out) and not os.listdir(out)):  # noqa: PTH112, PTH208 (strings)
        raise ConfigError(Problem(out, "exists already. Expected a new folder"))
    container = _find_shards(source)
    if container is not None and label is not None:
        raise ConfigError(Problem("--label", f"is for Parquet files of data sets, but '{source}' is in shards"))
    plan = _Files(container) if container is not None else Rows(_find_tables(source), label)
    with _becoming(Path(out)) as folder, explaining(out, "cannot be written"):
        for done, (name, content) in enumerate(plan.files(), 1):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise DataError(Problem(source, f"holds two files that would both be '{name}'"))
            path.write_bytes(content)
            say(done, plan.count)
        plan.finish(folder)
    return plan.describe()


@contextlib.contextmanager
def _becoming(out: Path) -> Iterator[Path]:
    """A folder for a block, which becomes `out` at its end, and is removed if it fails.

    If `out` exists, it stays: it may be a link, be on another disk, or be the folder that a shell is in.
    """
    with explaining(out, "cannot be written"):
        exists = out.is_dir()
        out.parent.mkdir(parents=True, exist_ok=True)
        home = out if exists else out.parent
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name[:_MOST_PREFIX]}.", suffix=".unfinished", dir=home))
    try:
        yield folder
        with explaining(out, "cannot be written"):
            if exists:
                for path in folder.iterdir():
                    path.rename(out / path.name)
                folder.rmdir()
            else:
                folder.chmod(0o777 & ~_umask())
                folder.replace(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_image(name: str) -> bool:
    return storage.suffix(name) in IMAGE_EXTENSIONS


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _find_shards(source: str) -> Container | None:
    with explaining(source, "cannot be listed"):
        found = find_container(source)
        if found is None:
            return open_container(source, searched=True)
        if found[1]:
            message = f"is a folder in '{found[0].path}'. Expected that path: all of its files are unpacked"
            raise DataError(Problem(source, message))
        return found[0]


def _find_tables(source: str) -> dict[str, str]:
    """The paths of the Parquet files at a path, by their names below it. Raises DataError if there are none."""
    with explaining(source, "cannot be listed"):
        if storage.is_file(source):
            if storage.suffix(source) == ".parquet":
                return {storage.split(source)[1]: source}
            raise DataError(Problem(source, "expected a Parquet file, or the shards of `rayrml pack` or of WebDataset"))
        if not storage.is_folder(source):
            raise DataError(Problem(source, "no such folder or file"))
        names: list[str] = []
        list_files = scan_store if storage.is_uri(source) else scan
        list_files(source, frozenset({".parquet"}), names, Counter())
    if not names:
        message = "holds nothing to unpack. Expected Parquet files, or the shards of `rayrml pack` or of WebDataset"
        raise DataError(Problem(source, message))
    return {name: storage.join(source, *name.split("/")) for name in sorted(names)}


class _Files:
    """The files of a container, by their names.

    Those of WebDataset are in the folders of the parts that names of tar files tell, and of the classes that files
    beside them tell.

    Raises:
        DataError: an image has no class beside it, though others have, or a name leads out of the container.
    """

    def __init__(self, container: Container):
        self._container = container
        self.count = len(container.names)
        names = container.names.to_pylist()
        if outside := [
            name for name in (*names, *container.folders) if name.startswith("/") or ".." in name.split("/")
        ]:
            raise DataError(Problem(container.path, f"holds {quote_some(outside, 3)}. Expected names below its folder"))
        told = container.classes or ()
        without = [name for name, own in zip(names, told, strict=False) if not own and _is_image(name)]
        if without:
            message = f"has no class beside {quote_some(without)}, as others have in files '.cls'"
            raise DataError(Problem(container.path, f"{message}. Expected one for each image"))
        self._folders = name_classes([name for name in told if name])
        parts = [find_part(storage.split(shard)[1]) for shard in container.shards]
        self._parts = parts if len(set(parts)) > 1 else [""] * len(parts)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each file."""
        own = self._container
        for row, name in enumerate(own.names.to_pylist()):
            member = storage.Member(own.shards[own.shard_of[row]], int(own.begins[row]), int(own.sizes[row]))
            path = storage.member_path(member, name)
            with explaining(path, "cannot be read"):
                content = storage.read(path)
            yield self._place(row, name), content

    def _place(self, row: int, name: str) -> str:
        """Where a file is written. The folder of an image is its class, so a class that is told has no folders."""
        own = self._container
        told = own.classes[row] if own.classes is not None else None
        place = f"{self._folders[told]}/{name.replace('/', '_')}" if told else name
        part = self._parts[own.shard_of[row]]
        return f"{part}/{place}" if part else place

    def finish(self, folder: Path) -> None:
        """Make the folders that have no files: they may be classes, unless parts or classes are told otherwise."""
        if self._folders or any(self._parts):
            return
        for name in self._container.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def describe(self) -> Unpacked:
        """What was unpacked."""
        left_out = tuple(f"{count:,} {kind}" for kind, count in self._container.left_out.items())
        counts = Counter(self._parts[shard] for shard in self._container.shard_of)
        return Unpacked(counts, classes=tuple(self._folders.values()), left_out=left_out)
