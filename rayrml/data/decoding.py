"""The work of a decoding task: from the places of samples to arrays of one shape.

Tasks must start fast, so this module does not import torch, torchvision or Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from rayrml import storage
from rayrml.config.tables import Choice
from rayrml.data.addresses import Members, Place, file_below
from rayrml.data.discovery import Samples
from rayrml.data.draws import Draws
from rayrml.data.image_ops import VaryingOperation
from rayrml.data.names import SEPARATOR, Names, take_names
from rayrml.data.readers import Read, Reader
from rayrml.data.slicers import Slicer
from rayrml.data.stacks import read_rows
from rayrml.data.value_rules import ValueRule
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.storage.archives import check_memory

T = TypeVar("T")
RESIZE_HINT = 'The transform {"resize": [height, width]} makes all images the same size'
_REQUESTS = 16  # concurrent ones per task
_FILES, _MEMBERS, _ARRAYS = "f", "m", "a"  # whether places are files below one folder, or in shards


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the inputs or targets of samples become arrays; small, because it is sent with each task.

    Attributes:
        reader: the row of the data types that reads them.
        shape: (C, *spatial) that every prepared array must have; that of the first slicer's samples if `shapes` differ.
        dtype: type that every array must have, or be convertible to without loss.
        first: the sample that the others must match, as messages name it.
        prepare: operation on each array before arrays are stacked, None for none.
        adds_channel: whether arrays lack a channel axis and get one.
        slicers: the slicers that cut samples out of arrays, () if samples are whole arrays.
        rule: what the values must be, and what becomes of them; None for any.
        vary: operation on each array after that, by the sample's random numbers; None for none.
        random: whether samples have random numbers, and are others in each epoch.
        shapes: the shape of each slicer's samples, () if all samples have one shape.
    """

    reader: Choice
    shape: tuple[int, ...]
    dtype: np.dtype
    first: str
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    adds_channel: bool = False
    slicers: tuple[Slicer, ...] = ()
    rule: ValueRule | None = None
    vary: VaryingOperation | None = None
    random: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()

    def with_rule(self, rule: ValueRule) -> Decoding:
        """The same with a rule for the values, which may change their type."""
        return dataclasses.replace(self, rule=rule, dtype=rule.dtype(self.dtype))

    def fill(self, places: Sequence[Place], rows: np.ndarray, draws: Draws | None = None) -> list[str]:
        """Read the samples at `places` into `rows` (n, C, *spatial); returns the error of each, "" for none.

        A file is opened once for all of its consecutive samples. `draws` are the samples' random numbers.
        """
        with storage.reading_together(place.path for place in places):
            return self._fill(places, rows, draws)

    def _fill(self, places: Sequence[Place], rows: np.ndarray, draws: Draws | None) -> list[str]:
        reader: Reader = self.reader.build()
        if self.vary is not None and draws is not None:
            return self._fill_varying(places, rows, draws)
        if reader.read is not None:
            fill = functools.partial(self._fill_whole, reader.read)
            if any(storage.is_uri(place.path) for place in places[:1]):
                # The round trip to the store takes most of the time.
                with ThreadPoolExecutor(_REQUESTS) as threads:
                    return list(threads.map(fill, places, rows))
            return list(map(fill, places, rows))
        if places and places[0].is_row:
            return self._fill_rows(reader, places, rows)
        return self._read_each(places, lambda read, place, row: self._fill_one(read, place, rows[row]), str)

    def _fill_varying(self, places: Sequence[Place], rows: np.ndarray, draws: Draws) -> list[str]:
        """Do the same as `fill`, with random numbers for each sample."""

        def fill(read: Read, place: Place, number: int) -> str:
            return self._fill_one(read, place, rows[number], draws.at(number))

        def fill_each(number: int) -> str:
            return self._read_each([places[number]], lambda read, place, _: fill(read, place, number), str)[0]

        if any(storage.is_uri(place.path) for place in places[:1]):
            with ThreadPoolExecutor(_REQUESTS) as threads:
                return list(threads.map(fill_each, range(len(places))))
        return self._read_each(places, fill, str)

    def read_prepared(self, places: Sequence[Place]) -> list[np.ndarray | None]:
        """The samples at `places` before the rule for their values, None for those that cannot be used."""

        def use(read: Read, place: Place, number: int) -> np.ndarray | None:
            with contextlib.suppress(DataError, ConfigError):
                return self.prepared(read_sample(read, place, self), place)
            return None

        return self._read_each(places, use, lambda error: None)

    def _read_each(
        self, places: Sequence[Place], use: Callable[[Read, Place, int], T], fail: Callable[[DataError], T]
    ) -> list[T]:
        """What `use` makes of each sample and its number, or `fail` of the error of a file that cannot be opened.

        A file is opened once for all of its consecutive samples.
        """
        reader: Reader = self.reader.build()
        results: list[T] = []
        for path, group in itertools.groupby(places, key=lambda place: place.path):
            together = list(group)
            before = len(results)
            try:
                with reader.open(path) as read:
                    for place in together:
                        results.append(use(read, place, len(results)))
            except DataError as error:
                # If a file cannot be opened, none of its samples can be read.
                results += [fail(error)] * (before + len(together) - len(results))
        return results

    def array(self, place: Place) -> np.ndarray:
        """The sample at `place`. Raises DataError if it is missing or has another shape or type."""
        reader: Reader = self.reader.build()
        with reader.open(place.path) as read:
            return self.finished(read_sample(read, place, self), place)

    def _fill_whole(self, read: Callable[[str], np.ndarray], place: Place, row: np.ndarray) -> str:
        """Do the same as `_fill_one`, for files of one array: small images come by the tens of thousands."""
        try:
            array = read(place.path)
            if not self._is_plain or array.shape != self.shape or array.dtype != self.dtype:
                array = self.finished(array[None] if self.adds_channel else array, place)
            row[...] = array
        except (DataError, ConfigError) as error:
            return str(error)
        return ""

    def _fill_one(self, read: Read, place: Place, row: np.ndarray, draws: Draws | None = None) -> str:
        try:
            row[...] = self.finished(read_sample(read, place, self), place, draws)
        except (DataError, ConfigError) as error:
            return str(error)
        return ""

    def _fill_rows(self, reader: Reader, places: Sequence[Place], rows: np.ndarray) -> list[str]:
        """Do the same for rows of arrays, reading those of one array together."""
        errors: list[str] = []
        for (path, name), group in itertools.groupby(places, key=lambda place: place[:2]):
            together = list(group)
            into = rows[len(errors) : len(errors) + len(together)]
            try:
                with reader.open(path) as read:
                    errors += self._fill_block(read, name, together, into)
            except DataError as error:
                errors += [str(error)] * len(together)
        return errors

    def _fill_block(self, read: Read, name: str, places: Sequence[Place], rows: np.ndarray) -> list[str]:
        try:
            block = read_rows(read(name), [place.number for place in places])
            block = block[:, None] if self.adds_channel else block
            if self.prepare is None and self.vary is None and block.shape == rows.shape and block.size:
                block = block if self.rule is None else self.rule(block)
                if np.can_cast(choose_stored_type(block.dtype), self.dtype):
                    rows[...] = block
                    return [""] * len(places)
        except _DAMAGE:
            pass  # one of them cannot be read or is invalid: each by itself shows which
        return [self._fill_one(read, place, row) for place, row in zip(places, rows, strict=True)]

    @property
    def _is_plain(self) -> bool:
        """Whether an array of the right shape and type stays as it was read."""
        return self.prepare is None and self.rule is None and self.vary is None and not self.adds_channel

    def prepared(self, array: np.ndarray, place: Place) -> np.ndarray:
        """Prepare an array that was read. Raises DataError if its shape differs from the first sample's."""
        check_cells(array.shape, place)
        if self.prepare is not None:
            array = self.prepare(array)
        if self.vary is None:
            self.check_shape(array.shape, place)
        return array

    def finished(self, array: np.ndarray, place: Place, draws: Draws | None = None) -> np.ndarray:
        """Prepare and check an array that was read; it is changed as in evaluation if there are no `draws`.

        Raises:
            DataError: its shape or type differs from the first sample's, or a value breaks the rule.
        """
        array = self.prepared(array, place)
        if self.rule is not None:
            try:
                array = self.rule(array)
            except ValueError as error:
                raise DataError(Problem(place.address, str(error))) from None
        if self.vary is not None:
            try:
                array = self.vary(array, draws)
            except ConfigError as error:
                raise DataError(*(Problem(place.address, str(problem)) for problem in error.problems)) from None
            self.check_shape(array.shape, place)
        if not np.can_cast(choose_stored_type(array.dtype), self.dtype):
            more = self.dtype == np.uint8 and self.reader.name == "images"
            hint = '. "scale": "range" reads images of 8 and 16 bits alike' if more else ""
            raise DataError(Problem(place.address, f"holds {array.dtype}, but {self.first} holds {self.dtype}{hint}"))
        return array

    def check_shape(self, shape: Sequence[int], place: Place) -> None:
        """Raise DataError unless `shape`, that of the sample at `place`, matches the first sample's."""
        expected = self.shapes[place.slicer] if self.shapes else self.shape
        if tuple(shape) != expected:
            hint = f". {RESIZE_HINT}" if len(expected) == 3 else ""
            message = f"is {format_size(shape)}, but {self.first} is {format_size(expected)}{hint}"
            raise DataError(Problem(place.address, message))


def read_sample(read: Read, place: Place, decoding: Decoding) -> np.ndarray:
    """The sample (C, *spatial) at `place` in an open file, not yet prepared."""
    stored = read(place.name)
    try:  # not `explaining`, which takes microseconds: a large array has many small slices
        if place.slicer >= 0:
            slicer = decoding.slicers[place.slicer]
            return slicer.grid(drop_channels(stored.shape, slicer)).read(stored, place.number)
        shape = sample_shape(stored.shape, place)
        if decoding.prepare is None and decoding.vary is None:
            decoding.check_shape((1, *shape) if decoding.adds_channel else shape, place)
        check_memory(math.prod(shape) * stored.dtype.itemsize, place.address)
        array = np.asarray(stored[place.number] if place.is_row else stored)
        return array[None] if decoding.adds_channel else array
    except _DAMAGE as error:
        raise DataError(Problem(place.address, f"cannot be read. {describe(error)}")) from None


def sample_shape(shape: Sequence[int], place: Place) -> tuple[int, ...]:
    """The shape of the sample at `place` in an array of this shape: the array itself, or one row of it."""
    return tuple(shape[1:] if place.is_row else shape)


def check_cells(shape: Sequence[int], place: Place) -> None:
    """Raise DataError if an array of this shape has no values."""
    if 0 in shape:
        raise DataError(Problem(place.address, f"has no values: its shape is {list(shape)}"))


def drop_channels(shape: Sequence[int], slicer: Slicer) -> tuple[int, ...]:
    """The shape of an array that a slicer cuts, without its channel axis if it has one."""
    return tuple(shape[1:] if len(shape) == len(slicer.sizes) + 1 else shape)


def choose_stored_type(dtype: np.dtype) -> np.dtype:
    """The type in which values of `dtype` are stored and sent: their own if it is small, else float32."""
    return np.dtype(_STORED.get(dtype.newbyteorder("=").str[1:], "f4"))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The work of a decoding task on its list of samples; a sample that fails does not affect the others.

    Attributes:
        sides: how the inputs and, if any, the target arrays are read.
        most: largest number of samples yielded at a time.
    """

    sides: dict[str, Decoding]
    most: int

    def __call__(self, block: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        """Yield the chunk in `block` in parts: rows `place`, `input` (n, C, *spatial), `target` if any, and `error`."""
        first = int(block["first"][0])
        places = {name: list(unpack(block[name][0])) for name in self.sides}
        count = len(next(iter(places.values())))
        for start in range(0, count, self.most):
            arrays: dict[str, np.ndarray] = {}
            reasons: list[list[str]] = []  # per side, the error of each sample
            for name, decoding in self.sides.items():
                part = places[name][start : start + self.most]
                arrays[name] = np.zeros((len(part), *decoding.shape), decoding.dtype)
                reasons.append(decoding.fill(part, arrays[name], _draws(block, start, len(part))))
            errors = [next(filter(None, of_sample), "") for of_sample in zip(*reasons, strict=True)]
            numbers = np.arange(first + start, first + start + len(errors))
            yield {"place": numbers, **arrays, "error": np.array(errors, object)}


def _draws(block: dict[str, np.ndarray], start: int, count: int) -> Draws | None:
    """The random numbers of some samples of a chunk, None if they have none."""
    if "seed" not in block:
        return None
    positions = np.frombuffer(block["positions"][0], np.int64)
    return Draws(int(block["seed"][0]), positions[start : start + count])


def pack(samples: Samples, indices: np.ndarray) -> bytes:
    """The places of the samples at `indices` (n,) as one string.

    Ray takes a thousand times longer for a list of strings.
    """
    if samples.places is None:
        names = take_names(samples.names, indices)
        text = (names if isinstance(names, Names) else Names.of(names)).encoded()
        return os.fsencode(f"{_FILES}{samples.root}{SEPARATOR}") + text
    if isinstance(samples.places, Members):
        paths = (place.path for place in samples.places.take(indices))
        return os.fsencode(_MEMBERS + "".join(f"{path}{SEPARATOR}" for path in paths))
    fields = (str(field) for i in indices for field in samples.place(i))
    return os.fsencode(_ARRAYS + "".join(f"{field}{SEPARATOR}" for field in fields))


def unpack(chunk: bytes) -> Iterator[Place]:
    """The places in a string made by `pack`."""
    text = os.fsdecode(chunk)
    fields = text[1:].split(SEPARATOR)[:-1]
    if text[0] == _FILES:
        yield from (file_below(fields[0], name) for name in fields[1:])
        return
    if text[0] == _MEMBERS:
        yield from map(Place, fields)
        return
    for path, name, slicer, number in zip(*[iter(fields)] * 4, strict=True):
        yield Place(path, name, int(slicer), int(number))


def format_size(shape: Sequence[int]) -> str:
    """A sample's size in readable form: width x height and channels for an image."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    return f"{shape[2]}x{shape[1]} pixels with {shape[0]} channel{'s' if shape[0] > 1 else ''}"


# From the libraries, for damage inside a file, or a file that has changed.
_DAMAGE = (OSError, RuntimeError, ValueError, IndexError, MemoryError)
# Larger integers and float64 would take twice the memory; torch hardly supports uint16.
_STORED = {"b1": "u1", "u1": "u1", "i1": "i1", "i2": "i2", "f2": "f2"}
