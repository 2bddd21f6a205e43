"""Where samples are stored: each in a file of its own, in a file with others, or in a shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

from rayrml import storage
from rayrml.data.names import take_names

WHOLE, ROW = -1, -2  # the sample is the whole array, or one of its rows


class Place(NamedTuple):
    """Where a sample is stored.

    Attributes:
        path: path of the file.
        name: name of the array in the file, "" in files of one array.
        slicer: number of the slicer that cuts the sample out of the array; `WHOLE` if it is the whole array, `ROW` if
            it is one row of the array's first axis.
        number: number of the slice or the row.
    """

    path: str
    name: str = ""
    slicer: int = WHOLE
    number: int = 0

    @property
    def is_row(self) -> bool:
        """Whether the sample is one of many in its array."""
        return self.slicer == ROW

    @property
    def address(self) -> str:
        """The place as one string, as in messages."""
        array = f"{self.path}: {self.name}" if self.name else self.path
        return f"{array}[{self.number}]" if self.is_row else array


def file_below(root: str, name: str) -> Place:
    """Where the file of this name below a folder is."""
    return Place(storage.join(root, name) if storage.is_uri(root) else f"{root}/{name}")


class Members(Sequence[Place]):
    """The places of files in shards, as arrays, which Ray gives to all processes of a machine without copying them.

    Args:
        shards: paths of the shards.
        shard_of: (n,) uint32, the shard of each file.
        begins: (n,) int64, where each file begins in its shard.
        sizes: (n,) int64, of each file in bytes.
        names: (n,) of the files.
    """

    def __init__(
        self,
        shards: Sequence[str],
        shard_of: np.ndarray,
        begins: np.ndarray,
        sizes: np.ndarray,
        *,
        names: Sequence[str],
    ):
        self._shards = tuple(shards)
        self._shard_of = shard_of
        self._begins = begins
        self._sizes = sizes
        self._names = names

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> list[Place]: ...
    def __getitem__(self, index: int | slice) -> Place | list[Place]:
        """The place of one file, or of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        shard = self._shards[int(self._shard_of[number])]
        member = storage.Member(shard, int(self._begins[number]), int(self._sizes[number]))
        return Place(storage.member_path(member, self._names[number]))

    def take(self, indices: np.ndarray | Sequence[int]) -> Members:
        """The places at `indices` (n,), which may come several times."""
        rows = np.asarray(indices, np.int64)
        arrays = (array[rows] for array in (self._shard_of, self._begins, self._sizes))
        return Members(self._shards, *arrays, names=take_names(self._names, rows))


def take_places(places: Sequence[Place] | None, indices: np.ndarray | Sequence[int]) -> Sequence[Place] | None:
    """The places at `indices`, None if there are none."""
    if places is None or isinstance(places, Members):
        return None if places is None else places.take(indices)
    return [places[int(i)] for i in indices]


def are_files(places: Sequence[Place] | None) -> bool:
    """Whether each sample is a file by itself: in a folder, or in a shard."""
    return places is None or isinstance(places, Members)
