"""Files of numbers: numpy's `.npy` and `.npz`, and HDF5. Nothing is read before it is asked for."""

from __future__ import annotations

import contextlib
import mmap
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayrml import storage
from rayrml.data.readers.reader import Read, Reader
from rayrml.errors import DataError, Problem


def numpy() -> Reader:
    """Arrays of numpy, channels first: one sample in each `.npy` file, one for each array of an `.npz` file."""
    return Reader("arrays", _open_numpy, extensions=frozenset({".npy", ".npz"}), contents=_contents_of_numpy)


def hdf5() -> Reader:
    """Datasets of HDF5 files, channels first, in groups of any depth; one sample each."""
    return Reader("datasets", _open_hdf5, extensions=frozenset({".h5", ".hdf5", ".hdf"}), contents=_contents_of_hdf5)


@contextlib.contextmanager
def _open_numpy(path: str) -> Iterator[Read]:
    with contextlib.ExitStack() as stack:
        with _explaining(path):
            local = storage.local_copy(path)
            file = stack.enter_context(Path(local).open("rb"))
            packed = file.read(2) == b"PK"
            file.seek(0)
            # A map of the file: what is not looked at is not read.
            opened: Any = np.load(file if packed else local, None if packed else "r", allow_pickle=False)

        def read(name: str) -> Any:
            if not packed:
                _forget(opened)
                return _checked(opened, path)
            with _explaining(path):
                return _checked(opened[name], f"{path}: {name}")

        yield read


def _forget(array: np.memmap) -> None:
    """Give back the memory of what was looked at so far; a slice touches many more pages than it has values."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _contents_of_numpy(path: str) -> Sequence[str]:
    if storage.suffix(path) != ".npz":
        return [""]
    with _explaining(path), zipfile.ZipFile(storage.local_copy(path)) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


@contextlib.contextmanager
def _open_hdf5(path: str) -> Iterator[Read]:
    with _explaining(path):
        file = h5py.File(storage.local_copy(path), "r", locking=False)
    with file:

        def read(name: str) -> Any:
            found = file.get(name)
            if not isinstance(found, h5py.Dataset):
                raise DataError(Problem(path, f"has no dataset '{name}'"))
            return _checked(found, f"{path}: {name}")

        yield read


def _contents_of_hdf5(path: str) -> Sequence[str]:
    names: list[str] = []

    def visit(name: str, found: Any) -> None:
        # Shapes of lengths 0 and text are notes on the data, not samples.
        if isinstance(found, h5py.Dataset) and found.shape is not None and found.dtype.kind in _NUMBERS:
            names.append(name)

    with _explaining(path), h5py.File(storage.local_copy(path), "r", locking=False) as file:
        file.visititems(visit)  # does not follow links, neither inside the file nor out of it
    return names


def _checked(array: Any, where: str) -> Any:
    """`array`, if it holds numbers."""
    if array.dtype.kind not in _NUMBERS:
        raise DataError(Problem(where, f"holds values of type {array.dtype}. Expected integers or floats"))
    return array


@contextlib.contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Turn what the libraries make of a missing or damaged file into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(Problem(path, f"cannot be read. {error.strerror or str(error).splitlines()[0]}")) from None
    except ValueError as error:
        # Of object arrays numpy says that it must not unpickle them; files must not run code.
        reason = "It holds Python objects, not numbers" if "pickle" in str(error).lower() else str(error)
        raise DataError(Problem(path, f"cannot be read. {reason}")) from None
    except Exception as error:
        # From EOFError to zlib.error and NotImplementedError: it depends on the byte that is wrong.
        raise DataError(Problem(path, f"cannot be read. {error or type(error).__name__}")) from None


_NUMBERS = "biuf"

READERS = {"numpy": numpy, "hdf5": hdf5}
