"""Arrays that slices are cut from, kept in memory once for all workers of a machine.

Slices that overlap take many times the memory of their array.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rayrml.config.tables import Choice
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples, Slices
from rayrml.data.pipeline import Side, Source
from rayrml.data.readers import Read, Reader
from rayrml.errors import DataError, explaining
from rayrml.memory import machine_name
from rayrml.workers import Workers

_MOST_TIMES = 2  # the memory of the arrays that slices may take before the arrays are kept in their place
_COPIED_BYTES = 64 * 2**20  # at a time

Address = tuple[str, str]  # path of a file, and the array's name in it


def keep_arrays(source: Source, workers: Workers) -> Source:
    """The same samples, cut from arrays in memory. All workers must call it; those of a machine share the memory.

    Raises:
        DataError: an array cannot be read, or the machine lacks the memory; raised in all workers.
    """
    target = None if source.target is None else _keep_side(source.target, workers)
    return dataclasses.replace(source, input=_keep_side(source.input, workers), target=target)


def worth_keeping(source: Source) -> bool:
    """Whether slices take so much more memory than their arrays that these are kept in their place."""
    return bool(source.samples.slices) and source.bytes_in_total > _MOST_TIMES * count_bytes(source)


def count_bytes(source: Source) -> int:
    """The size of the arrays that the slices are from, as large as they are once they are read."""
    return sum(_count_side(side) for side in source.sides.values())


def _count_side(side: Side) -> int:
    shapes = {address: part.grid.shape for address, part in _by_array(side.samples)}
    return sum(side.shape[0] * math.prod(shape) * side.dtype.itemsize for shape in shapes.values())


def _by_array(samples: Samples) -> Iterator[tuple[Address, Slices]]:
    for part in samples.slices:
        place = samples.place(part.first)
        yield (place.path, place.name), part


def _keep_side(side: Side, workers: Workers) -> Side:
    reader: Reader = side.decoding.reader.build()
    addresses = dict.fromkeys(address for address, _ in _by_array(side.samples))
    arrays = {address: _keep(reader, address, workers) for address in addresses}
    return dataclasses.replace(side, decoding=_reading(side.decoding, reader, arrays))


def _reading(decoding: Decoding, reader: Reader, arrays: Mapping[Address, np.ndarray]) -> Decoding:
    """The decoding with these arrays in place of files. It cannot be sent to other processes."""

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield lambda name: arrays[path, name]

    kept = dataclasses.replace(reader, open=opened, read=None)
    return dataclasses.replace(decoding, reader=Choice(decoding.reader.name, lambda: kept, {}))


def _keep(reader: Reader, address: Address, workers: Workers) -> np.ndarray:
    """One array, which the first worker of each machine reads for all others there."""
    if workers.size == 1 or not hasattr(os, "memfd_create"):  # the latter exists on Linux only
        return _read(reader, address, np.empty)
    machines = workers.gather(machine_name())
    first = machines.index(machines[workers.rank])
    shared, problem = None, None
    if first == workers.rank:
        shared = _Shared()
        try:
            _read(reader, address, shared.allocate)
        except DataError as error:
            problem = error.problems[0]
    told = workers.gather((shared and shared.handle, problem))
    try:
        for _, found in told:
            if found is not None:
                raise DataError(found)
        array = told[first][0].open()
        workers.gather(None)  # the memory stays as long as a process has it open
    finally:
        if shared is not None:
            shared.close()
    return array


def _read(reader: Reader, address: Address, allocate: Callable[..., np.ndarray]) -> np.ndarray:
    """The whole array in what `allocate` makes for its shape and type. Raises DataError if it cannot be read."""
    path, name = address
    with reader.open(path) as read, explaining(path, "cannot be read"):
        stored = read(name)
        array = allocate(tuple(stored.shape), stored.dtype.newbyteorder("="))
        rows = max(_COPIED_BYTES // max(array[:1].nbytes, 1), 1)
        for start in range(0, len(array), rows):
            array[start : start + rows] = stored[start : start + rows]
    return array


class _Handle(NamedTuple):
    """How other processes of the machine open a shared array."""

    process: int
    file: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def open(self) -> np.ndarray:
        """The array, read-only."""
        with Path(f"/proc/{self.process}/fd/{self.file}").open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(memory, self.dtype).reshape(self.shape)


class _Shared:
    """Memory for an array without a name in any folder: it is free as soon as no process has it open any more."""

    def __init__(self) -> None:
        self._file = os.memfd_create("rayrml")
        self.handle: _Handle | None = None

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array, to be filled."""
        size = math.prod(shape) * dtype.itemsize
        os.ftruncate(self._file, size)
        self.handle = _Handle(os.getpid(), self._file, shape, dtype)
        return np.frombuffer(mmap.mmap(self._file, size), dtype).reshape(shape)

    def close(self) -> None:
        """Close the file; arrays in it stay."""
        os.close(self._file)
