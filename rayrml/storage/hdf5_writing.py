"""Writing HDF5 files: under a temporary name until they are complete, and discardable at any time."""

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
_writing: list[bool] = []  # for each active block, whether Python's garbage collection was enabled before it


class Hdf5Output:
    """A new HDF5 file that replaces another one only when it is complete, even if the disk fails.

    Attributes:
        path: the final path.
        hdf5: the open file.
    """

    def __init__(self, path: str | Path, *, cleans: bool = True, **cache: Any):
        """Open the file with h5py's `cache` settings; `cleans` as for `Unfinished`.

        Raises:
            DataError: it cannot be created.
        """
        self.path = str(path)
        self.hdf5: Any = None
        self._file: storage.Unfinished | None = None
        try:
            with self.writing():
                self._file = storage.Unfinished(path, cleans=cleans)
                # After a failed write, HDF5 can no longer close a file.
                self._file.hold_errors()
                self.hdf5 = h5py.File(self._file, "w", **cache)
                _open.add(self)
        except BaseException:
            self.discard()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """The block in which the file is changed. Raises errors as DataError, at the end of the block at the latest.

        h5py reports them as several kinds of exceptions.
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
        """Finish the file and move it into place. Raises DataError on failure; it can still be discarded then."""
        if self._file is not None and self.hdf5:
            with self.writing():
                self.hdf5.close()
                self._file.commit()
            _open.discard(self)

    def discard(self) -> None:
        """Remove the file unless it is already in place."""
        if self._file is not None:
            self._file.pretend()
            if self.hdf5 is not None:
                with _without_collection():
                    self.hdf5.close()
            self._file.discard()
            _open.discard(self)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Disable Python's garbage collection while HDF5 works on a file.

    HDF5 writes by calling Python, where a collection would close unused datasets, of this file or another one, in the
    middle of HDF5's work: that crashes the process.
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
    """Discard the files now: HDF5 would close them after the end of Python, through which they are written."""
    for output in list(_open):
        output.discard()
