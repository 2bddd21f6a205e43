"""What a decoding task does: from places of samples to arrays of one shape.

Tasks must start fast, so nothing in here imports torch, torchvision or Ray.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rayrml.data.discovery import Place, Samples
from rayrml.data.readers import Read, Reader
from rayrml.data.slicers import Slicer
from rayrml.errors import ConfigError, DataError
from rayrml.lookup import Choice

RESIZE_HINT = 'The transform {"resize": [height, width]} gives all images one size'
_SEPARATOR = b"\0"  # the one byte that no path has, nor a name in a file


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
        errors: list[str] = []
        reader: Reader = self.reader.build()
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
            return self._array(read, place)

    def _fill_one(self, read: Read, place: Place, row: np.ndarray) -> str:
        try:
            row[...] = self._array(read, place)
        except (DataError, ConfigError) as error:
            return str(error)
        return ""

    def _array(self, read: Read, place: Place) -> np.ndarray:
        array = sample(read, place, self)
        if self.prepare is not None:
            array = self.prepare(array)
        if array.shape != self.shape:
            hint = f". {RESIZE_HINT}" if len(self.shape) == 3 else ""
            raise DataError(f"{place.address}: is {size(array.shape)}, but {self.first} is {size(self.shape)}{hint}")
        if not np.can_cast(stored_type(array.dtype), self.dtype):
            raise DataError(f"{place.address}: holds {array.dtype}, but {self.first} {self.dtype}")
        return array


def sample(read: Read, place: Place, decoding: Decoding) -> np.ndarray:
    """The sample (C, *spatial) at `place` in an open file, as it is before it is prepared."""
    found = read(place.name)
    if place.slicer < 0:
        array = np.asarray(found)
        return array[None] if decoding.adds_channel else array
    slicer = decoding.slicers[place.slicer]
    return slicer.grid(spatial_shape(found.shape, slicer)).read(found, place.number)


def spatial_shape(shape: Sequence[int], slicer: Slicer) -> tuple[int, ...]:
    """The shape of an array that a slicer cuts, without the axis of channels that it may have."""
    return tuple(shape[1:] if len(shape) == len(slicer.sizes) + 1 else shape)


def stored_type(dtype: np.dtype) -> np.dtype:
    """The type in which values of `dtype` are kept and sent: their own if it is short, else float32."""
    return np.dtype(_STORED.get(dtype.newbyteorder("=").str[1:], "f4"))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """What a decoding task does to its list of samples; one that fails does not take the others along."""

    sides: dict[str, Decoding]

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, Any]:
        """Rows `place`, `input` (n, C, *spatial), perhaps `target`, and `error` for the chunks in `block`."""
        first = int(block["first"][0])
        arrays: dict[str, np.ndarray] = {}
        errors: list[str] = []
        for name, decoding in self.sides.items():
            places = [place for chunk in block[name] for place in unpacked(chunk)]
            arrays[name] = np.zeros((len(places), *decoding.shape), decoding.dtype)
            found = decoding.fill(places, arrays[name])
            errors = [old or new for old, new in zip(errors or found, found, strict=True)]
        return {"place": np.arange(first, first + len(errors)), **arrays, "error": np.array(errors, object)}


def packed(samples: Samples, indices: np.ndarray) -> bytes:
    """The places of the samples at `indices` as one string.

    Ray takes a thousand times longer over a list of strings.
    """
    if samples.places is None:
        return _SEPARATOR.join(os.fsencode(samples.path(i)) for i in indices)
    places = (samples.place(i) for i in indices)
    fields = (
        field
        for path, name, slicer, number in places
        for field in (os.fsencode(path), os.fsencode(name), b"%d" % slicer, b"%d" % number)
    )
    # No path is empty, so that an empty one tells both forms apart.
    return _SEPARATOR.join([b"", *fields])


def unpacked(chunk: bytes) -> Iterator[Place]:
    """The places in what `packed` made."""
    first, *fields = chunk.split(_SEPARATOR)
    if first:
        yield from (Place(os.fsdecode(path)) for path in (first, *fields))
        return
    for path, name, slicer, number in zip(*[iter(fields)] * 4, strict=True):
        yield Place(os.fsdecode(path), os.fsdecode(name), int(slicer), int(number))


def size(shape: Sequence[int]) -> str:
    """A sample's size as people say it: width x height and channels for an image."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    return f"{shape[2]}x{shape[1]} pixels with {shape[0]} channel{'s' if shape[0] > 1 else ''}"


# Larger integers and float64 would take twice the room; of uint16 torch knows next to nothing.
_STORED = {"b1": "u1", "u1": "u1", "i1": "i1", "i2": "i2", "f2": "f2"}
