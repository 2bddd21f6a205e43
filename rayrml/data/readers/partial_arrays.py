"""Arrays in files of a store of which only what is looked at is fetched, for the names, shapes and values in plans."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rayrml.data.readers.reader import Read
from rayrml.storage import Pieces

_HEADER_BYTES = 2**16  # more than numpy accepts of a header, and than a zip archive has before a member's content


class PartialArray:
    """An array whose values are fetched when it is sliced."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, values: Callable[[Any], np.ndarray]):
        self.shape, self.dtype = tuple(map(int, shape)), dtype
        self._values = values

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._values(key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = np.asarray(self[()])
        return values if dtype is None else values.astype(dtype)


@contextlib.contextmanager
def open_numpy(pieces: Pieces) -> Iterator[Any]:
    """The array of an `.npy` file, or the open archive of arrays. Raises what numpy and zipfile raise."""
    pieces.need([(0, _HEADER_BYTES)])
    with pieces.opened() as file:
        if file.peek(2)[:2] == b"PK":
            with zipfile.ZipFile(file) as archive:
                yield archive
            return
    stored = np.load(pieces.path, "r", allow_pickle=False)  # a memory map: what is missing is not accessed

    def values(key: Any) -> np.ndarray:
        pieces.need(_extents(stored, key))
        return np.array(np.load(pieces.path, "r", allow_pickle=False)[key])

    yield PartialArray(stored.shape, stored.dtype, values)


def fetch_member(archive: zipfile.ZipFile, name: str, pieces: Pieces) -> None:
    """Fetch all of a member of an archive at once."""
    info = archive.getinfo(name)
    pieces.need([(info.header_offset, info.header_offset + _HEADER_BYTES + info.compress_size)])


def read_hdf5(pieces: Pieces, find: Callable[[Any, str], Any]) -> Read:
    """A function from a dataset's name to the dataset; `find(file, name)` finds it in the open file, and checks it."""

    def read(name: str) -> PartialArray:
        def describe(file: Any) -> tuple[tuple[int, ...], np.dtype]:
            dataset = find(file, name)
            return tuple(dataset.shape), dataset.dtype

        def values(key: Any) -> np.ndarray:
            return pieces.ask_hdf5(lambda file: np.asarray(find(file, name)[key]))

        return PartialArray(*pieces.ask_hdf5(describe), values)

    return read


def _extents(stored: np.memmap, key: Any) -> list[tuple[int, int]]:
    """The ranges of bytes of a file that hold what a key selects: of each row along the first axis, or all."""
    first = key[0] if isinstance(key, tuple) and key else key
    begin, size = stored.offset, math.prod(stored.shape) * stored.dtype.itemsize
    by_rows = stored.ndim and stored.flags.c_contiguous and size
    if not by_rows or not isinstance(first, (int, np.integer, slice, np.ndarray)):
        return [(begin, begin + size)]
    row = size // len(stored)
    numbers = np.atleast_1d(np.arange(len(stored))[first])
    if isinstance(first, slice) and len(numbers) and first.step in (None, 1):
        return [(begin + int(numbers[0]) * row, begin + (int(numbers[-1]) + 1) * row)]
    return [(begin + int(number) * row, begin + (int(number) + 1) * row) for number in numbers]
