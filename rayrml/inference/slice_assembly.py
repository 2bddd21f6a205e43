"""Assembly of slices' predictions: one HDF5 dataset for each array and slicer."""

from __future__ import annotations

import bisect
import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from rayrml.data.discovery import Slices
from rayrml.data.slicers import Grid
from rayrml.storage.hdf5_writing import Hdf5Output

Precision = Literal["single", "half"]

DTYPES: Mapping[Precision, type] = {"single": np.float32, "half": np.float16}
_CHUNK_BYTES = 2**20
_SMALL_CHUNK_BYTES = 2**16
_CACHE_BYTES = 2**26
_CACHE_SLOTS = 10_007  # a prime: HDF5 selects a chunk's slot by the remainder


class SliceAssembly:
    """An HDF5 file with a dataset (*extent, K) for each part, channels last, which gets its name once it is complete.

    A dataset ends where its array does or, with remainders left out, where the last slice does. Where slices overlap, a
    cell is the mean of their values; a cell in a gap between slices is NaN, and the attribute `uncovered` counts them.
    Sums are kept in a second file in double precision: they do not depend on the order of the slices, and the mean of
    equal values is that value. Memory holds some slices and chunks, never a whole array.

    Args:
        path: the file.
        parts: the arrays and grids to which the slices belong.
        precision: float type of the file.
        partial: whether slices may be missing when the file is closed, as if the slicer had not cut them.
    """

    def __init__(
        self, path: str | Path, parts: Sequence[Slices], precision: Precision = "single", *, partial: bool = False
    ):
        self._partial = partial
        self.path = str(path)
        self._parts = sorted(parts, key=lambda part: part.first)
        self._firsts = [part.first for part in self._parts]
        _check(self._parts)
        self._dtype = np.dtype(DTYPES[precision])
        self._seen = [bytearray(-(-len(part.grid) // 8)) for part in self._parts]
        self._num_missing = [len(part.grid) for part in self._parts]
        self._num_channels: int | None = None
        self._begun: set[int] = set()
        self._current: tuple[int, Any] | None = None
        self._sums: Hdf5Output | None = None
        self._final = Hdf5Output(path)

    def write(self, indices: np.ndarray, outputs: np.ndarray) -> None:
        """Add the network's `outputs` (n, K, *sample_shape) for the samples with the numbers `indices` (n,).

        Raises:
            ValueError: a number belongs to no part, or was written before.
            DataError: outputs do not have the samples' shape, or the file cannot be written.
        """
        if len(indices) != len(outputs):
            raise ValueError(f"{len(indices)} indices for {len(outputs)} outputs")
        # In the file's order, whatever the order of the batch.
        for row in np.argsort(indices, kind="stable"):
            number, i = self._locate(int(indices[row]))
            region, values = self._parts[number].grid.place(i, outputs[row])
            self._check_channels(values.shape[-1])
            byte, bit = divmod(i, 8)
            if self._seen[number][byte] >> bit & 1:
                raise ValueError(f"slice {i} of '{self._parts[number].name}' was written before")
            with self._final.writing():
                self._add(number, region, values)
                self._seen[number][byte] |= 1 << bit
                self._num_missing[number] -= 1
                if self._num_missing[number] == 0:
                    self._finish(number)

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            ValueError: slices are missing, so the file is not finished.
            DataError: the file cannot be written.
        """
        if self._partial and self._num_channels is not None:
            with self._final.writing():
                for number in np.flatnonzero(self._num_missing).tolist():
                    self._dataset(number)  # even for a part without any slice
                    self._finish(number)
        elif any(self._num_missing):
            total = sum(len(part.grid) for part in self._parts)
            raise ValueError(f"{self.path}: {sum(self._num_missing)} of {total} slices were never written")
        self._final.close()
        self._discard_sums()

    def discard(self) -> None:
        """Remove what was written."""
        self._final.discard()
        self._discard_sums()
        self._current = None

    def _locate(self, index: int) -> tuple[int, int]:
        """The part that sample `index` belongs to, and its number among that part's slices."""
        number = bisect.bisect_right(self._firsts, index) - 1
        if number < 0 or index - self._firsts[number] >= len(self._parts[number].grid):
            raise ValueError(f"sample {index} is not a slice of any part")
        return number, index - self._firsts[number]

    def _check_channels(self, num_channels: int) -> None:
        self._num_channels = self._num_channels or num_channels
        if num_channels != self._num_channels:
            raise ValueError(f"outputs have {num_channels} channels, but earlier ones have {self._num_channels}")

    def _add(self, number: int, region: tuple[slice, ...], values: np.ndarray) -> None:
        dataset = self._dataset(number)
        if self._parts[number].grid.overlaps:
            with np.errstate(invalid="ignore"):  # infinities of both signs
                dataset[region] = dataset[region] + as_stored(values, np.dtype(np.float32))
        else:
            dataset[region] = as_stored(values, self._dtype)

    def _dataset(self, number: int) -> h5py.Dataset:
        """The dataset for a part's slices; the last one used stays open, which keeps its chunk cache."""
        if self._current is not None and self._current[0] == number:
            return self._current[1]
        self._leave()
        part = self._parts[number]
        file = self._sums_file() if part.grid.overlaps else self._final.hdf5
        dataset: Any = file[_link(part.name)] if number in self._begun else self._create(part, file)
        self._begun.add(number)
        self._current = number, dataset
        return dataset

    def _leave(self) -> None:
        """Flush the dataset in use: on closing, HDF5 does not report failed writes."""
        if self._current is not None:
            self._current[1].flush()
        self._current = None

    def _finish(self, number: int) -> None:
        """Compute the means of a part whose slices are all written; other parts' sums can then reuse its space."""
        self._leave()
        part = self._parts[number]
        missing = self._missing(number)
        if part.grid.overlaps:
            self._average(part, missing)
            del self._sums_file()[_link(part.name)]
        elif missing:
            cells = sum(math.prod(cut.stop - cut.start for cut in region) for region in missing)
            dataset: Any = self._final.hdf5[_link(part.name)]
            dataset.attrs["uncovered"] = part.grid.num_uncovered + cells

    def _missing(self, number: int) -> list[tuple[slice, ...]]:
        """The regions of a part's slices that were never written."""
        if not self._num_missing[number]:
            return []
        grid = self._parts[number].grid
        seen = np.unpackbits(np.frombuffer(self._seen[number], np.uint8), count=len(grid), bitorder="little")
        return [grid.region(i) for i in np.flatnonzero(seen == 0).tolist()]

    def _sums_file(self) -> h5py.File:
        if self._sums is None:
            self._sums = Hdf5Output(self.path, rdcc_nbytes=_CACHE_BYTES, rdcc_nslots=_CACHE_SLOTS)
        return self._sums.hdf5

    def _create(self, part: Slices, file: h5py.File) -> h5py.Dataset:
        final = file is self._final.hdf5
        dataset = file.create_dataset(
            _link(part.name),
            shape=(*part.grid.extent, self._num_channels),
            dtype=self._dtype if final else np.float64,
            chunks=choose_chunk_shape(part.grid, self._num_channels or 1),
            fillvalue=np.nan if final else 0,
            track_times=False,
        )
        if final:
            dataset.attrs["slicer"] = json.dumps(part.grid.slicer.settings)
            dataset.attrs["uncovered"] = part.grid.num_uncovered
        return dataset

    def _average(self, part: Slices, missing: Sequence[tuple[slice, ...]]) -> None:
        """Divide a part's sums by the number of slices that cover each cell, chunk by chunk."""
        sums: Any = self._sums_file()[_link(part.name)]
        means = self._create(part, self._final.hdf5)
        covered = [part.grid.covered(axis) for axis in range(len(part.grid.extent))]
        num_covered = 0
        for chunk in means.iter_chunks():
            sides = np.ix_(*(count[cut] for count, cut in zip(covered, chunk, strict=False)))
            coverage = np.array(functools.reduce(np.multiply, sides))
            num_covered += _uncover(coverage, chunk, missing)
            if coverage.any():
                with np.errstate(invalid="ignore"):
                    means[chunk] = as_stored(sums[chunk] / coverage[..., None], self._dtype)
        means.attrs["uncovered"] = math.prod(part.grid.extent) - num_covered
        means.flush()

    def _discard_sums(self) -> None:
        if self._sums is not None:
            self._sums.discard()
            self._sums = None


def _uncover(coverage: np.ndarray, chunk: Sequence[slice], missing: Sequence[tuple[slice, ...]]) -> int:
    """Subtract the `missing` slices from a chunk's coverage; return the number of cells that remain covered."""
    for region in missing:
        pairs = list(zip(region, chunk, strict=False))
        place = tuple(slice(max(own.start - c.start, 0), max(own.stop - c.start, 0)) for own, c in pairs)
        coverage[place] -= 1
    return int(np.count_nonzero(coverage))


def _check(parts: Sequence[Slices]) -> None:
    if len({part.name for part in parts}) < len(parts):
        raise ValueError("several parts have the same name")
    ends = [part.first + len(part.grid) for part in parts]
    if any(part.first < end for part, end in zip(parts[1:], ends, strict=False)):
        raise ValueError("a sample belongs to several parts")


def _link(name: str) -> str | bytes:
    """A dataset's name as HDF5 takes it: a file name that is not UTF-8 is passed as bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def as_stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`values` in C order and in `dtype`, infinite where they exceed its range."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype)


def choose_chunk_shape(grid: Grid, num_channels: int) -> tuple[int, ...]:
    """A chunk shape (*spatial, K) for which a slice touches few chunks and little outside of the slice.

    Its sides follow the slices: one stride, or several strides where slices overlap by more than half. Leading axes are
    split until the chunk is small enough; small chunks grow along the last axes, along which slices follow each other.
    """
    itemsize = 8 if grid.overlaps else 4
    sides = [
        min(n, stride if 2 * stride >= size else size // 2 // stride * stride)
        for n, stride, size in zip(grid.extent, grid.slicer.strides, grid.slicer.sizes, strict=True)
    ]
    sides.append(num_channels)
    for axis, side in enumerate(sides):
        parts = math.ceil(math.prod(sides) * itemsize / _CHUNK_BYTES)
        if parts > 1:
            sides[axis] = _split(side, parts)
    for axis in reversed(range(len(grid.extent))):
        times = _SMALL_CHUNK_BYTES // (math.prod(sides) * itemsize)
        if times > 1:
            sides[axis] = min(grid.extent[axis], sides[axis] * times)
    return tuple(sides)


def _split(side: int, parts: int) -> int:
    """The length of a part when a side is split into at least `parts`, evenly if at most twice as many suffice."""
    parts = min(parts, side)
    even = next((p for p in range(parts, min(2 * parts, side) + 1) if side % p == 0), parts)
    return max(1, side // even)
