"""Unpacking: the images of Parquet files, or the files of shards, into folders that are read like any others.

Parquet files of data sets compress their images together, so that none can be read by itself. Their classes become
folders, and the parts of the data set, which the names of the files tell, become folders above these.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.data.data_set_rows import Rows, Unpacked, name_folders
from rayrml.data.scanning import is_below_passed
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.storage.containers import Container, find_container, open_container


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
            path.write_bytes(content)
            say(done, plan.count)
        plan.finish(folder)
    return plan.describe()


@contextlib.contextmanager
def _becoming(out: Path) -> Iterator[Path]:
    """A folder for a block, which becomes `out` at its end, and is removed if it fails."""
    with explaining(out, "cannot be written"):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".unfinished", dir=out.parent))
    try:
        yield folder
        with explaining(out, "cannot be written"):
            folder.chmod(0o777 & ~_umask())
            folder.replace(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


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
        names = storage.walk(source)[0]
    found = [name for name in names if storage.suffix(name) == ".parquet" and not is_below_passed(name)]
    if not found:
        message = "holds nothing to unpack. Expected Parquet files, or the shards of `rayrml pack` or of WebDataset"
        raise DataError(Problem(source, message))
    return {name: storage.join(source, *name.split("/")) for name in found}


class _Files:
    """The files of a container, by their names; of WebDataset, below the classes that files beside them tell."""

    def __init__(self, container: Container):
        self._container = container
        self.count = len(container.names)
        told = container.classes or ()
        self._folders = name_folders([name for name in told if name is not None])

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each file."""
        own = self._container
        for row, name in enumerate(own.names.to_pylist()):
            member = storage.Member(own.shards[own.shard_of[row]], int(own.begins[row]), int(own.sizes[row]))
            path = storage.member_path(member, name)
            told = own.classes[row] if own.classes is not None else None
            with explaining(path, "cannot be read"):
                content = storage.read(path)
            yield (name if told is None else f"{self._folders[told]}/{name}"), content

    def finish(self, folder: Path) -> None:
        """Make the folders that have no files."""
        for name in self._container.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def describe(self) -> Unpacked:
        """What was unpacked."""
        left_out = tuple(f"{count:,} {kind}" for kind, count in self._container.left_out.items())
        return Unpacked({"": self.count}, classes=tuple(self._folders.values()), left_out=left_out)
