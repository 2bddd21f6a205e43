"""Files of numbers: numpy's `.npy` and `.npz`, and HDF5. Values are read only when they are needed."""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from rayrml import storage
from rayrml.data.readers import partial_arrays
from rayrml.data.readers.reader import Read, Reader
from rayrml.errors import DataError, Problem, describe
from rayrml.storage import archives, hdf5_reading

Channels = Literal["first", "last"]
OpenFile = Callable[[str], AbstractContextManager[Read]]


def numpy(*, channels: Channels = "first", stacked: bool | None = None) -> Reader:
    """Numpy arrays in `.npy` and `.npz` files: one sample (C, *spatial) each, or many if they are `stacked`."""
    return Reader(
        "arrays",
        _with_channels(_open_numpy, channels, stacked),
        extensions=frozenset({".npy", ".npz"}),
        contents=_contents_of_numpy,
        stacked=stacked,
        channels_last=channels == "last",
    )


def hdf5(*, channels: Channels = "first", stacked: bool | None = None) -> Reader:
    """HDF5 datasets in groups of any depth: one sample (C, *spatial) each, or many if they are `stacked`."""
    return Reader(
        "datasets",
        _with_channels(_open_hdf5, channels, stacked),
        extensions=frozenset({".h5", ".hdf5", ".hdf"}),
        contents=_contents_of_hdf5,
        stacked=stacked,
        channels_last=channels == "last",
    )


def _with_channels(open_file: OpenFile, channels: Channels, stacked: bool | None) -> OpenFile:
    """The same, with the last axis of arrays as the first of each sample if `channels` are last."""
    if channels == "first":
        return open_file

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        with open_file(path) as read:
            yield lambda name: move_channels(read(name), 1 if stacked else 0)

    return opened


def move_channels(stored: Any, axis: int) -> Any:
    """An array whose last axis comes at `axis`; values are read when they are needed."""
    if len(stored.shape) < axis + 2:
        return stored
    return np.moveaxis(stored, -1, axis) if isinstance(stored, np.ndarray) else _Moved(stored, axis)


class _Moved:
    """An HDF5 dataset whose last axis comes at another place."""

    def __init__(self, stored: Any, axis: int):
        self._stored = stored
        self._axis = axis
        self.dtype = stored.dtype
        self.shape = (*stored.shape[:axis], stored.shape[-1], *stored.shape[axis:-1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        given = key if isinstance(key, tuple) else (key,)
        if not any(part is Ellipsis for part in given):
            given = (*given, Ellipsis)
        at = next(place for place, part in enumerate(given) if part is Ellipsis)
        every = (*given[:at], *[slice(None)] * (len(self.shape) - len(given) + 1), *given[at + 1 :])
        channel, rest = every[self._axis], every[: self._axis] + every[self._axis + 1 :]
        values = self._stored[(*rest, channel)]
        if not isinstance(channel, slice):
            return values
        return np.moveaxis(values, -1, sum(isinstance(part, slice) for part in every[: self._axis]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[...] if dtype is None else self[...].astype(dtype)


@contextlib.contextmanager
def _open_numpy(path: str) -> Iterator[Read]:
    with contextlib.ExitStack() as stack:
        if (pieces := _find_pieces(path)) is not None:
            with _explaining(path):
                found = stack.enter_context(partial_arrays.open_numpy(pieces))
            yield lambda name: _partly_read(path, name, found, pieces)
            return
        with _explaining(path):
            local = _file(path)
            file = stack.enter_context(local.open("rb"))
            packed = file.read(2) == b"PK"
            file.seek(0)
            # A memory map: only what is accessed is read.
            opened: Any = np.load(file if packed else local, None if packed else "r", allow_pickle=False)

        def read(name: str) -> Any:
            if not packed:
                _forget(opened)
                return _checked(opened, path)
            with _explaining(f"{path}: {name}"):
                return _checked(_member(path, name, opened, local.stat()), f"{path}: {name}")

        yield read


def _find_pieces(path: str) -> storage.Pieces | None:
    with _explaining(path):
        return storage.find_pieces(path)


def _partly_read(path: str, name: str, found: Any, pieces: storage.Pieces) -> Any:
    """The array in an `.npy` file, or that of a name in an open archive, of which only pieces are here."""
    if not isinstance(found, zipfile.ZipFile):
        return _checked(found, path)
    where = f"{path}: {name}"

    def values(key: Any) -> np.ndarray:
        with _explaining(where):
            partial_arrays.fetch_member(found, _member_name(found, name), pieces)
            with found.open(_member_name(found, name)) as member:
                return np.lib.format.read_array(member, allow_pickle=False)[key]

    with _explaining(where):
        shape, dtype = _check_member(found, name, where)
        return _checked(partial_arrays.PartialArray(shape, dtype, values), where)


_last: dict[tuple[str, str, int, int], np.ndarray] = {}  # the member that was unpacked last


def _member(path: str, name: str, opened: Any, status: os.stat_result) -> np.ndarray:
    """An array of an archive; the last one stays in memory for those who need it part by part, unless it is large."""
    key = (path, name, status.st_mtime_ns, status.st_size)
    found = _last.get(key)
    if found is None:
        _last.clear()
        _check_member(opened.zip, name, f"{path}: {name}")
        found = opened[name]
        found.flags.writeable = False
        if found.nbytes <= _KEPT_BYTES:
            _last[key] = found
    return found


def _file(path: str) -> Path:
    """The local path of a regular file; a pipe could block forever."""
    local = Path(storage.local_copy(path))
    if local.exists() and not local.is_file():
        raise DataError(Problem(path, "cannot be read. It is not a regular file"))
    return local


def _member_name(archive: zipfile.ZipFile, name: str) -> str:
    return f"{name}.npy" if f"{name}.npy" in archive.NameToInfo else name


def _check_member(archive: zipfile.ZipFile, name: str, place: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type of an array. Raises DataError if it takes more memory than is available, or claims to."""
    info = archive.getinfo(_member_name(archive, name))
    archives.check_size(info, place)
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
        raise DataError(Problem(place, f"cannot be read. It contains less data than its shape {list(shape)} requires"))
    return shape, dtype


def _forget(array: np.memmap) -> None:
    """Free the memory of what was accessed so far; a slice touches many more pages than it has values."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _contents_of_numpy(path: str) -> Sequence[str]:
    if storage.suffix(path) != ".npz":
        return [""]
    with _explaining(path):
        pieces = storage.find_pieces(path)
        with _file(path).open("rb") if pieces is None else pieces.opened() as file, zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(Problem(path, f"contains several arrays named '{twice[0]}'"))
    return names


@contextlib.contextmanager
def _open_hdf5(path: str) -> Iterator[Read]:
    def find(file: h5py.File, name: str) -> h5py.Dataset:
        dataset = hdf5_reading.member(file, name, path)
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(Problem(path, f"has no dataset '{name}'"))
        hdf5_reading.check(dataset, f"{path}: {name}")
        return _checked(dataset, f"{path}: {name}")

    with contextlib.ExitStack() as stack:
        with _explaining(path):
            pieces = storage.find_pieces(path)
            if pieces is None:
                read_one: Read = functools.partial(find, stack.enter_context(hdf5_reading.opened(_file(path))))
            else:
                pieces.ask_hdf5(lambda file: None)  # a damaged file is reported when it is opened
                read_one = partial_arrays.read_hdf5(pieces, find)

        def read(name: str) -> Any:
            with _explaining(path):
                return read_one(name)

        yield read


def _contents_of_hdf5(path: str) -> Sequence[str]:
    with _explaining(path):
        pieces = storage.find_pieces(path)
        if pieces is not None:
            return pieces.ask_hdf5(_list_datasets)
        with hdf5_reading.opened(_file(path)) as file:
            return _list_datasets(file)


def _list_datasets(file: h5py.File) -> list[str]:
    names: list[str] = []

    def visit(name: str, member: Any) -> None:
        # Text, and datasets without a shape, are notes on the data, not samples.
        if isinstance(member, h5py.Dataset) and member.dtype.kind in _NUMBERS and hdf5_reading.has_shape(member):
            names.append(name)

    file.visititems(visit)  # follows no links, neither inside the file nor to other files
    return names


def _checked(array: Any, where: str) -> Any:
    """`array`, if it contains numbers."""
    if array.dtype.kind not in _NUMBERS:
        raise DataError(Problem(where, f"holds values of type {array.dtype}. Expected integers or floats"))
    return array


@contextlib.contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Turn what the libraries raise for a missing or damaged file into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # From EOFError to zlib.error and NotImplementedError, depending on which byte is wrong. For object arrays,
        # numpy reports that it may not unpickle them; files must not run code.
        pickled = isinstance(error, ValueError) and any(word in str(error).lower() for word in ("pickle", "objects"))
        reason = "It holds Python objects, not numbers" if pickled else describe(error)
        raise DataError(Problem(path, f"cannot be read. {reason}")) from None


_NUMBERS = "biuf"
_KEPT_BYTES = 2**30

READERS = {"numpy": numpy, "hdf5": hdf5}
