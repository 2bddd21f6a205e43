"""Arrays that hold many samples: each row along the first axis is one sample.

Tasks that read data import this module, so it imports neither torch nor Ray.
"""

from __future__ import annotations

import abc
import bisect
import dataclasses
import itertools
import operator
import os
from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np

from rayrml import storage
from rayrml.data.addresses import ROW, Place
from rayrml.data.discovery import Samples
from rayrml.data.readers import Reader
from rayrml.errors import DataError, Problem

T = TypeVar("T")
_FEWEST_DIGITS = 7  # of a row's number, so that names do not depend on how many rows there are


class _OfRows(Sequence[T], abc.ABC):
    """One value for each row of several arrays, made when it is asked for: there may be millions."""

    def __init__(self, lengths: Sequence[int]):
        self._ends = list(itertools.accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        array = bisect.bisect_right(self._ends, number)
        return self._make(array, number - (self._ends[array - 1] if array else 0))

    @abc.abstractmethod
    def _make(self, array: int, row: int) -> T: ...


class RowNames(_OfRows[str]):
    """The names of rows: their array's name and their number, `x_train/0000012`."""

    def __init__(self, arrays: Sequence[str], lengths: Sequence[int]):
        super().__init__(lengths)
        self._arrays = arrays
        self._digits = max(_FEWEST_DIGITS, *(len(str(length - 1)) for length in lengths))
        self._of = (tuple(arrays), tuple(lengths))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowNames) and self._of == other._of

    def __hash__(self) -> int:
        return hash(self._of)

    def _make(self, array: int, row: int) -> str:
        return f"{self._arrays[array]}/{row:0{self._digits}}"


class RowPlaces(_OfRows[Place]):
    """The places of rows."""

    def __init__(self, arrays: Sequence[Place], lengths: Sequence[int]):
        super().__init__(lengths)
        self.arrays = arrays

    def _make(self, array: int, row: int) -> Place:
        path, name, *_ = self.arrays[array]
        return Place(path, name, ROW, row)


def read_shapes(samples: Samples, reader: Reader) -> list[tuple[int, ...]]:
    """The shape of each array. Raises DataError if one cannot be read."""

    def read_shape(place: Place) -> tuple[int, ...]:
        with reader.open(place.path) as read:
            return tuple(map(int, read(place.name).shape))

    places = [samples.place(i) for i in range(len(samples))]
    return list(storage.map_files(read_shape, places, lambda place: place.path))


def list_rows(samples: Samples, shapes: Sequence[tuple[int, ...]]) -> Samples:
    """The rows of arrays of these shapes, each with its array's label.

    Raises:
        DataError: an array has no rows.
    """
    for i, shape in enumerate(shapes):
        if not shape or not shape[0]:
            message = f"holds no samples along its first axis: its shape is {list(shape)}"
            raise DataError(Problem(samples.place(i).address, message))
    lengths = [shape[0] for shape in shapes]
    return dataclasses.replace(
        samples,
        names=RowNames(_stems(samples), lengths),
        **samples.take_targets(np.repeat(np.arange(len(samples)), lengths)),
        places=RowPlaces([samples.place(i) for i in range(len(samples))], lengths),
    )


def check_lengths(
    inputs: Samples, targets: Samples, shapes: Sequence[tuple[int, ...]], target_shapes: Sequence[tuple[int, ...]]
) -> None:
    """Raise DataError unless each input array has as many rows as its target array."""
    problems: list[Problem] = []
    for i, (own, other) in enumerate(zip(shapes, target_shapes, strict=True)):
        if own[:1] != other[:1]:
            place, partner = targets.place(i).address, inputs.place(i).address
            counts = f"holds {_count(other)} along its first axis, but '{partner}' {_count(own)}"
            problems.append(Problem(place, f"{counts}. Expected a target for each sample"))
    if problems:
        raise DataError(*problems)


def read_labels(targets: Samples, reader: Reader) -> np.ndarray:
    """The labels (N,) in arrays (n,) or (n, 1), one array after the other.

    Raises:
        DataError: an array has another shape, or cannot be read.
    """
    parts: list[np.ndarray] = []
    for i in range(len(targets)):
        place = targets.place(i)
        array = reader.decode(place.path, place.name)
        if array.ndim == 0 or array.size != len(array):
            message = f"has shape {list(array.shape)}. Expected one class number for each sample, (N,)"
            hint = ". numpy's argmax over axis 1 makes them of one-hot targets" if array.ndim == 2 else ""
            raise DataError(Problem(place.address, f"{message}{hint}"))
        parts.append(array.reshape(len(array)))
    return np.concatenate(parts)


def read_rows(stored: Any, numbers: Sequence[int]) -> np.ndarray:
    """The rows (n, ...) of an array, a memory map or an HDF5 dataset at `numbers`, in their order."""
    order = np.asarray(numbers)
    if len(order) == order[-1] - order[0] + 1 and (np.diff(order) == 1).all():
        return np.asarray(stored[order[0] : order[-1] + 1])
    if isinstance(stored, np.ndarray):
        return np.asarray(stored[order])
    # In ascending order each chunk of an HDF5 dataset is unpacked once.
    rows = np.empty((len(order), *stored.shape[1:]), stored.dtype)
    for i in np.argsort(order, kind="stable"):
        rows[i] = stored[order[i]]
    return rows


def _stems(samples: Samples) -> list[str]:
    """The arrays' names, of files without the extension unless two would then be the same."""
    stems = [
        name if samples.place(i).name else os.path.splitext(name)[0]  # noqa: PTH122 (names may be parts of URIs)
        for i, name in enumerate(samples.names)
    ]
    return stems if len(set(stems)) == len(stems) else list(samples.names)


def _count(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,}" if shape else "nothing"
