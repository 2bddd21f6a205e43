"""What a decoding task does: from places of samples to arrays of one shape.

Tasks must start fast, so nothing in here imports torch, torchvision or Ray.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.config.tables import Choice
from rayrml.data.discovery import Place, Samples
from rayrml.data.readers import Read, Reader
from rayrml.data.slicers import Slicer
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.storage.archives import check_memory

RESIZE_HINT = 'The transform {"resize": [height, width]} gives all images one size'
_REQUESTS = 16  # at a time, of a task
_SEPARATOR = "\0"  # the one byte that no path has, nor a name in a file


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the inputs or the targets of samples become arrays; small, because it is sent with each task.

    Attributes:
        reader: the row of the data types that reads them.
        shape: (C, *spatial) that every array must have once it is prepared.
        dtype: type that it must have, or can be turned into without loss.
        first: the sample that the others must agree with, as messages name it.
        prepare: what is done to each array before arrays are put together, None for nothing.
        adds_channel: arrays have no axis of channels and get one.
        slicers: what cuts samples out of arrays, () if samples are whole arrays.
    """

    reader: Choice
    shape: tuple[int, ...]
    dtype: np.dtype
    first: str
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    adds_channel: bool = False
    slicers: tuple[Slicer, ...] = ()

    def fill(self, places: Sequence[Place], rows: np.ndarray) -> list[str]:
        """Put the samples at `places` into `rows` (n, C, *spatial); what is wrong with each, "" if nothing is.

        Each file is opened once for all of its samples that follow one another.
        """
        reader: Reader = self.reader.build()
        if reader.read is not None:
            fill = functools.partial(self._fill_whole, reader.read)
            if any(storage.is_uri(place.path) for place in places[:1]):
                # What takes time is the way to the store and back.
                with ThreadPoolExecutor(_REQUESTS) as threads:
                    return list(threads.map(fill, places, rows))
            return list(map(fill, places, rows))
        errors: list[str] = []
        for path, group in itertools.groupby(places, key=lambda place: place.path):
            together = list(group)
            before = len(errors)
            try:
                with reader.open(path) as read:
                    for place in together:
                        errors.append(self._fill_one(read, place, rows[len(errors)]))
            except DataError as error:
                # Of a file that cannot be opened, no sample can be read.
                errors += [str(error)] * (before + len(together) - len(errors))
        return errors

    def array(self, place: Place) -> np.ndarray:
        """The sample at `place`. Raises DataError if there is none, or one of another shape or type."""
        reader: Reader = self.reader.build()
        with reader.open(place.path) as read:
            return self.finished(read_sample(read, place, self), place)

    def _fill_whole(self, read: Callable[[str], np.ndarray], place: Place, row: np.ndarray) -> str:
        """What `_fill_one` does, for files of one array: small images come by the ten thousand."""
        try:
            array = read(place.path)
            if self.prepare is not None or self.adds_channel or array.shape != self.shape or array.dtype != self.dtype:
                array = self.finished(array[None] if self.adds_channel else array, place)
            row[...] = array
        except (DataError, ConfigError) as error:
            return str(error)
        return ""

    def _fill_one(self, read: Read, place: Place, row: np.ndarray) -> str:
        try:
            row[...] = self.finished(read_sample(read, place, self), place)
        except (DataError, ConfigError) as error:
            return str(error)
        return ""

    def finished(self, array: np.ndarray, place: Place) -> np.ndarray:
        """What is kept of an array that was read. Raises DataError if it has another shape or type than the first."""
        check_cells(array.shape, place)
        if self.prepare is not None:
            array = self.prepare(array)
        self.check_shape(array.shape, place)
        if not np.can_cast(choose_stored_type(array.dtype), self.dtype):
            raise DataError(Problem(place.address, f"holds {array.dtype}, but {self.first} {self.dtype}"))
        return array

    def check_shape(self, shape: Sequence[int], place: Place) -> None:
        """Raise DataError unless the sample at `place`, which has that shape, is like the first."""
        if tuple(shape) != self.shape:
            hint = f". {RESIZE_HINT}" if len(self.shape) == 3 else ""
            message = f"is {format_size(shape)}, but {self.first} is {format_size(self.shape)}{hint}"
            raise DataError(Problem(place.address, message))


def read_sample(read: Read, place: Place, decoding: Decoding) -> np.ndarray:
    """The sample (C, *spatial) at `place` in an open file, as it is before it is prepared."""
    stored = read(place.name)
    try:  # not `explaining`, which takes microseconds: a large array has many small slices
        if place.slicer >= 0:
            slicer = decoding.slicers[place.slicer]
            return slicer.grid(drop_channels(stored.shape, slicer)).read(stored, place.number)
        if decoding.prepare is None:
            decoding.check_shape((1, *stored.shape) if decoding.adds_channel else stored.shape, place)
        check_memory(math.prod(stored.shape) * stored.dtype.itemsize, place.address)
        array = np.asarray(stored)
        return array[None] if decoding.adds_channel else array
    except (OSError, RuntimeError, ValueError, MemoryError) as error:  # the libraries', of damage inside of a file
        raise DataError(Problem(place.address, f"cannot be read. {describe(error)}")) from None


def check_cells(shape: Sequence[int], place: Place) -> None:
    """Raise DataError if an array of that shape has no values."""
    if 0 in shape:
        raise DataError(Problem(place.address, f"has no values: its shape is {list(shape)}"))


def drop_channels(shape: Sequence[int], slicer: Slicer) -> tuple[int, ...]:
    """The shape of an array that a slicer cuts, without the axis of channels that it may have."""
    return tuple(shape[1:] if len(shape) == len(slicer.sizes) + 1 else shape)


def choose_stored_type(dtype: np.dtype) -> np.dtype:
    """The type in which values of `dtype` are kept and sent: their own if it is short, else float32."""
    return np.dtype(_STORED.get(dtype.newbyteorder("=").str[1:], "f4"))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """What a decoding task does to its list of samples; one that fails does not take the others along.

    Attributes:
        sides: how the inputs and, where there are some, the target arrays are read.
        most: samples that are given on at a time.
    """

    sides: dict[str, Decoding]
    most: int

    def __call__(self, block: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        """Rows `place`, `input` (n, C, *spatial), perhaps `target`, and `error` of the chunk in `block`, in parts."""
        first = int(block["first"][0])
        places = {name: list(unpack(block[name][0])) for name in self.sides}
        count = len(next(iter(places.values())))
        for start in range(0, count, self.most):
            arrays: dict[str, np.ndarray] = {}
            reasons: list[list[str]] = []  # of each side, what is wrong with each of its samples
            for name, decoding in self.sides.items():
                part = places[name][start : start + self.most]
                arrays[name] = np.zeros((len(part), *decoding.shape), decoding.dtype)
                reasons.append(decoding.fill(part, arrays[name]))
            errors = [next(filter(None, of_sample), "") for of_sample in zip(*reasons, strict=True)]
            numbers = np.arange(first + start, first + start + len(errors))
            yield {"place": numbers, **arrays, "error": np.array(errors, object)}


def pack(samples: Samples, indices: np.ndarray) -> bytes:
    """The places of the samples at `indices` (n,) as one string.

    Ray takes a thousand times longer over a list of strings.
    """
    if samples.places is None:
        root, names = samples.root, samples.names
        if storage.is_uri(root):
            return os.fsencode(_SEPARATOR.join([storage.join(root, samples.name(i)) for i in indices.tolist()]))
        return os.fsencode(_SEPARATOR.join([f"{root}/{names[i]}" for i in indices.tolist()]))
    fields = (str(field) for i in indices for field in samples.place(i))
    # No path is empty, so that an empty one tells both forms apart.
    return os.fsencode(_SEPARATOR.join(["", *fields]))


def unpack(chunk: bytes) -> Iterator[Place]:
    """The places in what `pack` made."""
    first, *fields = os.fsdecode(chunk).split(_SEPARATOR)
    if first:
        yield from map(Place, (first, *fields))
        return
    for path, name, slicer, number in zip(*[iter(fields)] * 4, strict=True):
        yield Place(path, name, int(slicer), int(number))


def format_size(shape: Sequence[int]) -> str:
    """A sample's size as people say it: width x height and channels for an image."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    return f"{shape[2]}x{shape[1]} pixels with {shape[0]} channel{'s' if shape[0] > 1 else ''}"


# Larger integers and float64 would take twice the room; of uint16 torch knows next to nothing.
_STORED = {"b1": "u1", "u1": "u1", "i1": "i1", "i2": "i2", "f2": "f2"}
