"""The folder of a prediction file's shards: their names, the index of their samples, and what runs have left in it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining
from rayrml.saving.run_lock import LOCK_NAME, is_locked
from rayrml.storage import hdf5_reading

INDEX = "index.csv"
ATTRIBUTE = "shards"  # of a file that consists of links: the token of the run whose shards they lead to
_COLUMNS = ["path", "shard"]
_SHARD = re.compile(r"([0-9a-f]{8})-\d{9,}\.h5")
_UNFINISHED = re.compile(rf"\.{_SHARD.pattern}\..+\.unfinished")


@dataclasses.dataclass(frozen=True)
class ShardFolder:
    """The folder next to a prediction file, `output_1_shards` for `output_1.h5`.

    A shard is named by a token of its run and the first of its samples. So a task that is done again replaces its own
    shard, and what is left of other runs is never taken for a part of this one.

    Attributes:
        target: path of the prediction file.
    """

    target: str

    @property
    def name(self) -> str:
        """The name of the folder."""
        return f"{storage.split(self.target)[1].removesuffix('.h5')}_shards"

    @property
    def path(self) -> str:
        """The folder."""
        return storage.join(storage.parent(self.target), self.name)

    @property
    def index(self) -> str:
        """The file that says in which shard each sample is."""
        return storage.join(self.path, INDEX)

    @property
    def lock(self) -> str:
        """The file that exists while a run writes shards, wherever its folder can be seen."""
        return storage.join(self.path, LOCK_NAME)

    def shard(self, name: str) -> str:
        """The path of a shard."""
        return storage.join(self.path, name)

    def find_current(self) -> set[str]:
        """The tokens of the shards that the index and the prediction file lead to."""
        found: set[str] = set()
        with contextlib.suppress(OSError, DataError):
            found.add(next(read_index(self.index))[1].partition("-")[0])
        if not storage.is_uri(self.target):
            with contextlib.suppress(OSError, KeyError), hdf5_reading.opened(self.target) as file:
                found.add(str(file.attrs[ATTRIBUTE]))
        return found

    def remove(self, *, keep: Collection[str] = ()) -> None:
        """Remove the shards of all runs but these, the index if none is kept, and the folder if nothing is left in it.

        Raises:
            OSError: that fails.
        """
        for name in storage.files(self.path):
            found = _SHARD.fullmatch(name) or _UNFINISHED.fullmatch(name)
            if found[1] not in keep if found else name == INDEX and not keep:
                storage.remove(self.shard(name))
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is in it."""
        if not storage.is_uri(self.path):
            with contextlib.suppress(OSError):  # it holds files
                Path(self.path).rmdir()

    def remove_replaced(self) -> None:
        """Remove the shards of earlier runs, whose predictions a file has replaced, unless a run is writing others."""
        with contextlib.suppress(OSError):  # a store may allow to write, but not to list
            if not is_locked(self.path):
                self.remove()


def name_shard(token: str, first: int) -> str:
    """The name of the shard that begins with the sample at `first`."""
    return f"{token}-{first:09}.h5"


def list_own_shards(folder: str) -> Iterator[str]:
    """The shards and the index in the folder of shards that an inference has left in `folder`, relative to that."""
    shards = ShardFolder(storage.join(folder, "output_1.h5"))
    names = storage.files(shards.path)
    yield from (f"{shards.name}/{name}" for name in names if name == INDEX or _SHARD.fullmatch(name))


def is_index(path: str | Path) -> bool:
    """Whether a path is that of an index."""
    return storage.split(path)[1] == INDEX


def write_index(path: str, rows: Iterable[tuple[str, str]]) -> None:
    """Write the name of each sample and that of its shard. Raises DataError if the file cannot be written."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    lines.writerows(rows)
    with explaining(path, "cannot be written"):
        storage.write(path, text.getvalue().encode(errors="surrogateescape"))


def read_index(path: str) -> Iterator[tuple[str, str]]:
    """The name of each sample and that of its shard, in the order of the prediction file.

    Raises:
        DataError: the file cannot be read, or is not an index.
    """
    with explaining(path, "cannot be read"):
        text = storage.read(path).decode(errors="surrogateescape")
    rows = csv.reader(io.StringIO(text, newline=""))
    if next(rows, None) != _COLUMNS:
        raise DataError(Problem(path, f"is not an index of shards. Expected the columns {' and '.join(_COLUMNS)}"))
    for row in rows:
        if len(row) != len(_COLUMNS) or not _SHARD.fullmatch(row[1]):
            raise DataError(Problem(path, f"line {rows.line_num} does not name a sample and its shard"))
        yield row[0], row[1]


def in_order_of_file(names: Iterable[str]) -> list[str]:
    """Names of samples in the order in which HDF5 lists them: folder by folder, by the bytes of each part."""
    return sorted(names, key=lambda name: os.fsencode(name).split(b"/"))
