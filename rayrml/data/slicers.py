"""Slicers: how a large array is cut into samples, and where their predictions belong in it.

A `Slicer` is what the JSON says; a `Grid` is its slices of one array. Both are small whatever the array's size, and
each slice is read by itself. Tasks that read data import this module, so it imports neither torch nor Ray.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from rayrml.config.json_files import format_value
from rayrml.config.tables import make_model, validate
from rayrml.errors import ConfigError, DataError, Problem

PaddingMode = Literal["zeros", "neighbors"]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
Margins = tuple[Annotated[int, Field(ge=0)], ...]


class Sliceable(Protocol):
    """A numpy array, a memory map, an HDF5 dataset: anything with a shape that is read by basic slicing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        ...

    def __getitem__(self, window: Any, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Slicer:
    """How arrays (*spatial) or (C, *spatial) are cut: one number for each spatial axis.

    Attributes:
        name: part of the name of the predictions' dataset.
        sizes: cells of a slice; an axis of size 1 is dropped from the sample.
        strides: cells from one slice to the next.
        padded_sizes: cells of a slice with its padding: half before, half after, the odd one after.
        discard_remainders: whether cells after the last whole slice are left out.
        transpose: whether the two axes of a sample are swapped.
        padding_mode: what padding contains: zeros, or the cells around the slice in the array.
    """

    name: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    padded_sizes: tuple[int, ...]
    discard_remainders: bool = False
    transpose: bool = False
    padding_mode: PaddingMode = "zeros"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The spatial shape of a sample: padded, without dropped axes, transposed if requested."""
        kept = tuple(padded for padded, size in zip(self.padded_sizes, self.sizes, strict=True) if size > 1)
        return kept[::-1] if self.transpose else kept

    @property
    def settings(self) -> dict[str, Any]:
        """The complete JSON object of this slicer."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """The slices of an array with the spatial shape `shape`.

        Raises:
            DataError: the array has another number of axes or no cells, or is too small for one whole slice.
        """
        shape = tuple(map(int, shape))
        if len(shape) != len(self.sizes):
            message = f"expected an array with {len(self.sizes)} spatial axes, got the spatial shape {list(shape)}"
            raise DataError(Problem(self._label, message))
        if 0 in shape:
            raise DataError(Problem(self._label, f"the array has no cells: its spatial shape is {list(shape)}"))
        if self.discard_remainders and any(n < size for n, size in zip(shape, self.sizes, strict=True)):
            message = f"the array's spatial shape {list(shape)} is smaller than a slice of {list(self.sizes)}"
            cure = "Expected a larger array, or 'discard_remainders' false, which pads it with zeros"
            raise DataError(Problem(self._label, f"{message}. {cure}"))
        return Grid(self, shape)

    @property
    def _label(self) -> str:
        return f"slicer '{self.name}'"


@dataclasses.dataclass(frozen=True, slots=True)
class _Axis:
    """The slices along one axis of an array."""

    length: int
    size: int
    stride: int
    padded: int
    discards: bool
    reaches_out: bool

    @property
    def count(self) -> int:
        if self.discards:
            return (self.length - self.size) // self.stride + 1
        if self.length <= self.size:
            return 1
        # With gaps, the slice after the last gap may be outside the array.
        return min(-(-(self.length - self.size) // self.stride) + 1, -(-self.length // self.stride))

    @property
    def extent(self) -> int:
        """Cells up to the end of the last slice, or of the array if its remainder is not left out."""
        return (self.count - 1) * self.stride + self.size if self.discards else self.length

    @property
    def before(self) -> int:
        """Cells of padding before a slice."""
        return (self.padded - self.size) // 2

    def window(self, start: int) -> tuple[slice, slice]:
        """What the slice at `start` reads from the array, and where that is in the padded slice."""
        first = start - self.before
        if self.reaches_out:
            low, high = max(first, 0), min(first + self.padded, self.length)
        else:
            low, high = start, min(start + self.size, self.length)
        return slice(low, high), slice(low - first, high - first)

    def inside(self, start: int) -> tuple[slice, slice]:
        """Which part of the array the slice at `start` covers, and where that is in the padded slice."""
        stop = min(start + self.size, self.length)
        return slice(start, stop), slice(self.before, self.before + stop - start)

    def covered(self) -> np.ndarray:
        starts = np.arange(self.count) * self.stride
        changes = np.zeros(self.length + 1, np.int64)
        changes[starts] += 1
        np.subtract.at(changes, np.minimum(starts + self.size, self.length), 1)
        return np.cumsum(changes[:-1])


@dataclasses.dataclass(frozen=True)
class Grid:
    """The slices of one array, ordered with the last axis varying fastest.

    Attributes:
        slicer: the slicer that cuts the array.
        shape: the array's spatial shape.
    """

    slicer: Slicer
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self._length

    def name(self, i: int) -> str:
        """`start:stop` of slice `i` for each spatial axis, without padding, such as `0:64,0:64,17:273`."""
        spans = zip(self._starts(i), self.slicer.sizes, strict=True)
        return ",".join(f"{start}:{start + size}" for start, size in spans)

    def read(self, array: Sliceable, i: int) -> np.ndarray:
        """Slice `i` of `array`, (*spatial) or (C, *spatial), as a sample (C, *sample_shape); C is 1 without channels.

        It has the array's dtype in native byte order and owns its memory.

        Raises:
            DataError: the array's shape is not the one that the grid was made for.
        """
        channels = self._channels(array.shape)
        source: list[slice | int] = [slice(None)] * len(channels)
        target = [slice(None)]
        for axis, start in zip(self._axes, self._starts(i), strict=True):
            if axis.size == 1:
                source.append(start)
                continue
            cut, place = axis.window(start)
            source.append(cut)
            target.append(place)
        cells = array[tuple(source)]
        whole = (*(channels or (1,)), *self.slicer.sample_shape)
        filled = math.prod(whole) == cells.size
        sample = (np.empty if filled else np.zeros)(whole, cells.dtype.newbyteorder("="))
        (sample.swapaxes(1, 2) if self.slicer.transpose else sample)[tuple(target)] = cells
        return sample

    def place(self, i: int, output: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
        """The region of slice `i` in the array, and the network's output (K, *sample_shape) for it as (*region, K).

        The region contains only cells of the array: padding and anything beyond the array are cut off.

        Raises:
            DataError: the output's spatial shape is not the sample's.
        """
        if output.shape[1:] != self.slicer.sample_shape or output.ndim == 0:
            expected = f"{list(self.slicer.sample_shape)} after the channels"
            message = f"predictions can be assembled only in the samples' shape. Expected {expected}"
            raise DataError(Problem(self.slicer._label, f"{message}, got {list(output.shape[1:])}"))
        region: list[slice] = []
        crop: list[slice | None] = []
        for axis, start in zip(self._axes, self._starts(i), strict=True):
            covers, part = axis.inside(start)
            region.append(covers)
            crop.append(None if axis.size == 1 else part)
        upright = output.swapaxes(1, 2) if self.slicer.transpose else output
        return tuple(region), np.moveaxis(upright, 0, -1)[tuple(crop)]

    def region(self, i: int) -> tuple[slice, ...]:
        """The region of slice `i` in the array, without anything beyond the array."""
        return tuple(axis.inside(start)[0] for axis, start in zip(self._axes, self._starts(i), strict=True))

    def covered(self, axis: int) -> np.ndarray:
        """How many slices cover each cell along an axis (n,); the product over all axes is the count for a cell."""
        return self._axes[axis].covered()

    @property
    def overlaps(self) -> bool:
        """Whether any cell is covered by several slices."""
        return any(axis.stride < axis.size and axis.count > 1 for axis in self._axes)

    @functools.cached_property
    def extent(self) -> tuple[int, ...]:
        """The spatial shape of what is assembled from the slices: the array's, without remainders that are left out."""
        return tuple(axis.extent for axis in self._axes)

    @property
    def num_uncovered(self) -> int:
        """The number of cells of the `extent` that no slice covers."""
        covered = (int(np.count_nonzero(axis.covered())) for axis in self._axes)
        return math.prod(self.extent) - math.prod(covered)

    @functools.cached_property
    def _axes(self) -> tuple[_Axis, ...]:
        cut = self.slicer
        axes = zip(self.shape, cut.sizes, cut.strides, cut.padded_sizes, strict=True)
        return tuple(_Axis(*axis, cut.discard_remainders, cut.padding_mode == "neighbors") for axis in axes)

    @functools.cached_property
    def _counts(self) -> tuple[int, ...]:
        return tuple(axis.count for axis in self._axes)

    @functools.cached_property
    def _length(self) -> int:
        return math.prod(self._counts)

    def _starts(self, i: int) -> list[int]:
        """Where slice `i` starts along each axis."""
        rest = operator.index(i)
        if not 0 <= rest < self._length:
            raise IndexError(f"slice {i} of {self._length}")
        starts: list[int] = []
        for count, stride in zip(reversed(self._counts), reversed(self.slicer.strides), strict=True):
            rest, step = divmod(rest, count)
            starts.append(step * stride)
        return starts[::-1]

    def _channels(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The length of the array's channel axis, if it has one."""
        channels = len(shape) - len(self.shape)
        if channels not in (0, 1) or tuple(shape[channels:]) != self.shape:
            expected = f"the spatial shape {list(self.shape)}, with or without a channel axis before it"
            raise DataError(Problem(self.slicer._label, f"expected an array of {expected}, got {list(shape)}"))
        return tuple(shape[:channels])


def slicer(
    *,
    sizes: Sizes,
    strides: Sizes | None = None,
    padding: Margins | None = None,
    padded_sizes: Sizes | None = None,
    discard_remainders: bool = False,
    transpose: bool = False,
    padding_mode: PaddingMode = "zeros",
    name: str | None = None,
) -> Slicer:
    """Samples cut from arrays (*spatial) or (C, *spatial): slices of `sizes`, one number for each spatial axis.

    A size of 1 drops its axis from the sample. `strides` are the steps from slice to slice, by default the sizes:
    smaller ones overlap, larger ones leave gaps. `padding` adds this many cells on both sides of each axis;
    `padded_sizes` gives the resulting sizes instead. `padding_mode` says what the added cells contain: zeros, or the
    slice's neighbors in the array. The remainder at the end of an axis is padded with zeros, or left out if
    `discard_remainders`, also of reassembled predictions. `transpose` swaps the axes of 2-D samples. `name` is part of
    the predictions' names.

    Raises:
        ConfigError: lists every key that does not fit the others.
    """
    mistakes = _miscounted(len(sizes), {"strides": strides, "padding": padding, "padded_sizes": padded_sizes})
    if padding is not None and padded_sizes is not None:
        mistakes.append(Problem("padded_sizes", "repeats 'padding'. Expected only one of the two"))
    padded = padded_sizes or sizes
    if not mistakes:
        padded = padded if padding is None else tuple(n + 2 * p for n, p in zip(sizes, padding, strict=True))
        mistakes += _mispadded(sizes, padded, "padded_sizes" if padding is None else "padding")
    num_kept = sum(size > 1 for size in sizes)
    if transpose and num_kept != 2:
        message = f"swaps the two axes of a 2-D sample, but this sample is {num_kept}-D"
        mistakes.append(Problem("transpose", f"{message}. Expected false, or two sizes above 1"))
    if name is not None and (name in ("", ".", "..") or "/" in name or "\0" in name):
        message = f"{format_value(name)} cannot be part of a dataset name. Expected a name without '/'"
        mistakes.append(Problem("name", message))
    if mistakes:
        raise ConfigError(*mistakes)
    return Slicer(name or "", sizes, strides or sizes, padded, discard_remainders, transpose, padding_mode)


def parse_slicers(section: Any, path: str) -> tuple[Slicer, ...]:
    """The slicers of a JSON list, in its order; those without a name are called `slicer_<k>`, from 0.

    Raises:
        ConfigError: lists every mistake, each with its JSON path below `path`.
    """
    if not isinstance(section, list):
        raise ConfigError(
            Problem(path, f'expected a list of objects such as {{"sizes": [64, 64]}}, got {format_value(section)}')
        )
    mistakes: list[Problem] = []
    slicers: dict[int, Slicer] = {}
    for k, entry in enumerate(section):
        try:
            slicers[k] = _one(entry, k, f"{path}[{k}]")
        except ConfigError as error:
            mistakes += error.problems
    mistakes += _disagreeing(slicers, path)
    if mistakes:
        raise ConfigError(*mistakes)
    return tuple(slicers.values())


def _one(entry: Any, k: int, path: str) -> Slicer:
    if not isinstance(entry, Mapping):
        raise ConfigError(Problem(path, f'expected an object such as {{"sizes": [64, 64]}}, got {format_value(entry)}'))
    arguments = validate(make_model(slicer), entry, path, "a slicer takes")
    try:
        cut = slicer(**arguments)
    except ConfigError as error:
        raise ConfigError(*(Problem(f"{path}.{p.where}", p.message) for p in error.problems)) from None
    return cut if cut.name else dataclasses.replace(cut, name=f"slicer_{k}")


def _miscounted(num_axes: int, given: Mapping[str, tuple[int, ...] | None]) -> list[Problem]:
    return [
        Problem(key, f"expected {num_axes} numbers, one for each of 'sizes', got {len(values)}")
        for key, values in given.items()
        if values is not None and len(values) != num_axes
    ]


def _mispadded(sizes: tuple[int, ...], padded_sizes: tuple[int, ...], key: str) -> list[Problem]:
    mistakes: list[Problem] = []
    for axis, (size, padded) in enumerate(zip(sizes, padded_sizes, strict=True)):
        if padded < size:
            message = f"expected at least the size, {size}, for axis {axis}, got {padded}"
            mistakes.append(Problem(key, message))
        elif size == 1 and padded > 1:
            message = f"axis {axis} has size 1 and is dropped. Expected {0 if key == 'padding' else 1} for it"
            mistakes.append(Problem(key, message))
    return mistakes


def _disagreeing(slicers: Mapping[int, Slicer], path: str) -> list[Problem]:
    """Problems with slicers whose arrays or samples have another number of axes than the first one's, or its name."""
    mistakes: list[Problem] = []
    named: dict[str, int] = {}
    first, expected = next(iter(slicers.items()), (0, None))
    for k, cut in slicers.items():
        if cut.name in named:
            message = f"'{cut.name}' is already the name of {path}[{named[cut.name]}]. Expected another"
            mistakes.append(Problem(f"{path}[{k}].name", message))
        named.setdefault(cut.name, k)
        if expected is None:
            continue
        if len(cut.sizes) != len(expected.sizes):
            message = f"expected {len(expected.sizes)} numbers as in {path}[{first}], which cuts the same arrays"
            mistakes.append(Problem(f"{path}[{k}].sizes", f"{message}, got {len(cut.sizes)}"))
        elif len(cut.sample_shape) != len(expected.sample_shape):
            message = f"gives samples with {len(cut.sample_shape)} axes, but all slicers must feed one network"
            axes = f"{len(expected.sample_shape)} as from {path}[{first}]"
            mistakes.append(Problem(f"{path}[{k}].sizes", f"{message}. Expected {axes}"))
    return mistakes
