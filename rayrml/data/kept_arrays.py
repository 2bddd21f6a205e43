"""Arrays that slices are cut from, kept in memory once for all workers of a machine.

Slices that overlap take many times the memory of their array.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rayrml.config.tables import Choice
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples
from rayrml.data.readers import Read, Reader
from rayrml.data.sources import Side, Source
from rayrml.errors import DataError, explaining
from rayrml.memory import machine_name
from rayrml.workers import Workers

_MOST_TIMES = 2  # the memory of the arrays that slices may take before the arrays are kept in their place
_COPIED_BYTES = 64 * 2**20  # at a time

Address = tuple[str, str]  # path of a file, and the array's name in it


def keep_arrays(source: Source, workers: Workers) -> Source:
    """The same samples, cut from arrays in memory. All workers must call it; those of a machine share the memory.

    Slices of an array that cannot be read whole are still read from its file, and show which of them are bad.
    """
    first = reading_worker(workers)
    target = None if source.target is None else _keep_side(source.target, workers, first)
    return dataclasses.replace(source, input=_keep_side(source.input, workers, first), target=target, here=True)


def count_bytes(source: Source) -> int:
    """The size of the arrays that are to be kept in place of their slices; 0 if the slices take little more memory.

    Raises:
        DataError: an array cannot be opened.
    """
    if not source.samples.slices:
        return 0
    size = sum(_count_side(side) for side in source.sides.values())
    return size if source.bytes_in_total > _MOST_TIMES * size else 0


def reading_worker(workers: Workers) -> int:
    """The rank of the worker that reads arrays into memory for this worker."""
    if workers.size == 1 or not hasattr(os, "memfd_create"):  # the latter exists on Linux only
        return workers.rank
    machines = workers.gather(machine_name())
    return machines.index(machines[workers.rank])


def _count_side(side: Side) -> int:
    reader: Reader = side.decoding.reader.build()
    size = 0
    for path, name in _addresses(side.samples):
        with reader.open(path) as read, explaining(path, "cannot be read"):
            stored = read(name)
            size += math.prod(stored.shape) * stored.dtype.itemsize
    return size


def _addresses(samples: Samples) -> Iterable[Address]:
    places = (samples.place(part.first) for part in samples.slices)
    return dict.fromkeys((place.path, place.name) for place in places)


def _keep_side(side: Side, workers: Workers, first: int) -> Side:
    reader: Reader = side.decoding.reader.build()
    arrays = {address: _keep(reader, address, workers, first) for address in _addresses(side.samples)}
    return dataclasses.replace(side, decoding=_reading(side.decoding, reader, arrays))


def _reading(decoding: Decoding, reader: Reader, arrays: Mapping[Address, np.ndarray | None]) -> Decoding:
    """The decoding with these arrays in place of their files. It cannot be sent to other processes."""
    damaged = {path for (path, _), array in arrays.items() if array is None}

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        if path in damaged:
            with reader.open(path) as read:
                yield read
        else:
            yield lambda name: arrays[path, name]

    kept = dataclasses.replace(reader, open=opened, read=None)
    return dataclasses.replace(decoding, reader=Choice(decoding.reader.name, lambda: kept, {}))


def _keep(reader: Reader, address: Address, workers: Workers, first: int) -> np.ndarray | None:
    """One array, which the worker `first` reads for all of this machine; None if it cannot be read."""
    if workers.size == 1 or not hasattr(os, "memfd_create"):
        return _read(reader, address, np.empty)
    if first != workers.rank:
        handle = workers.gather(None)[first]
        array = None if handle is None else handle.open()
        workers.gather(None)
        return array
    with _Shared() as shared:
        array = _read(reader, address, shared.allocate)
        workers.gather(None if array is None else shared.handle)
        workers.gather(None)  # all have opened it: the memory stays as long as one of them has
    return array


def _read(reader: Reader, address: Address, allocate: Callable[..., np.ndarray]) -> np.ndarray | None:
    """The whole array in what `allocate` makes for its shape and type, None if it cannot be read."""
    path, name = address
    try:
        with reader.open(path) as read, explaining(path, "cannot be read"):
            stored = read(name)
            array = allocate(tuple(stored.shape), stored.dtype.newbyteorder("="))
            rows = max(_COPIED_BYTES // max(array[:1].nbytes, 1), 1)
            for start in range(0, len(array), rows):
                array[start : start + rows] = stored[start : start + rows]
    except DataError:
        return None
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

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # arrays in it stay
