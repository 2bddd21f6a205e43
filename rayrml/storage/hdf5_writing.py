"""HDF5 files that are being written: under a temporary name until they are whole, and disposable at any time."""

from __future__ import annotations

import atexit
import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from rayrml import storage
from rayrml.errors import DataError, Problem

_open: set[Hdf5Output] = set()
_lock = threading.Lock()
_writing: list[bool] = []  # for each block that is under way, whether Python collected garbage before it


class Hdf5Output:
    """A new HDF5 file in the place of another one, which stays until this one is whole, whatever becomes of the disk.

    Attributes:
        path: where it will be.
        hdf5: its content.
    """

    def __init__(self, path: str | Path, **cache: Any):
        """Open the file, with h5py's settings of its cache. Raises DataError if it cannot be made."""
        self.path = str(path)
        self.hdf5: Any = None
        self._file: storage.Unfinished | None = None
        try:
            with self.writing():
                self._file = storage.Unfinished(path)
                # HDF5 cannot close a file any more after it could not write to it.
                self._file.hold_errors()
                self.hdf5 = h5py.File(self._file, "w", **cache)
                _open.add(self)
        except BaseException:
            self.discard()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """The block for whatever is done to the file. Trouble with it is a DataError, at its end at the latest.

        h5py tells of it by several kinds of exceptions.
        """
        try:
            with _without_collection():
                yield
            if self._file is not None and self._file.error is not None:
                raise self._file.error
        except (OSError, RuntimeError, ValueError) as error:
            cause = (self._file and self._file.error) or error
            if not isinstance(cause, Exception):
                raise cause from None
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
            raise DataError(Problem(self.path, f"cannot be written. {reason}")) from None

    def close(self) -> None:
        """Finish the file and put it in its place. Raises DataError if that fails; it can still be discarded then."""
        if self._file is not None and self.hdf5:
            with self.writing():
                self.hdf5.close()
                self._file.commit()
            _open.discard(self)

    def discard(self) -> None:
        """Remove the file, unless it has its place already."""
        if self._file is not None:
            self._file.pretend()
            if self.hdf5 is not None:
                with _without_collection():
                    self.hdf5.close()
            self._file.discard()
            _open.discard(self)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Let Python collect no garbage while HDF5 is at work on a file.

    It writes by calling Python, where a collection would close datasets that nobody needs any more, of this file or of
    another one, in the midst of what HDF5 does: that ends the process.
    """
    with _lock:
        _writing.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            enabled = any(_writing)
            _writing.pop()
            if enabled and not _writing:
                gc.enable()


@atexit.register
def _discard_all() -> None:
    """HDF5 would close the files when Python is not there any more, by which they are written."""
    for output in list(_open):
        output.discard()
