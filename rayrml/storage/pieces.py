"""Files in object stores of which little is needed: only the pieces that are read are fetched, and each of them once.

A plan needs the names and shapes of the arrays in files, and the values of some samples. While it is made, `in_pieces`
has `find_pieces` return a sparse copy of a file, into which pieces are fetched as they are asked for. A file that is
small, or of which many pieces are needed, is fetched whole, as workers do it, into the copy that they use.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from rayrml.storage.files import local_copy
from rayrml.storage.paths import is_uri

A = TypeVar("A")
T = TypeVar("T")
Range = tuple[int, int]  # of bytes, from the first to one after the last

_PIECE_BYTES = 2**16
_SMALL_BYTES = 2**20  # files that are fetched whole: more requests take longer than these bytes
_LARGEST_SHARE = 0.5  # of a file; from then on it is fetched whole
_MOST_ROUNDS, _BYTES_PER_ROUND = 16, 2**23  # requests one after the other: each takes as long as some megabytes
_REQUESTS = 16  # files, and pieces of a file, that are fetched at the same time

_found: dict[str, Pieces | None] = {}  # by URI, None for files that are fetched whole
_users = 0  # of `in_pieces`
_folder = contextlib.ExitStack()  # of copies; made for the first one
_folders: list[str] = []
_finding = threading.RLock()


@contextlib.contextmanager
def in_pieces() -> Iterator[None]:
    """Let `find_pieces` find files of this process in pieces; at the end, the copies are removed."""
    global _users  # noqa: PLW0603 (threads of the block read files, too)
    with _finding:
        _users += 1
    try:
        yield
    finally:
        with _finding:
            _users -= 1
            if not _users:
                _found.clear()
                _folders.clear()
                _folder.close()


def find_pieces(path: str | os.PathLike[str]) -> Pieces | None:
    """The pieces of a file, None if it is read whole: from this machine, or because it is small.

    Raises:
        OSError: it does not exist or cannot be accessed.
    """
    if not _users or not is_uri(path):
        return None
    from rayrml.storage import cache

    uri = os.fspath(path)
    with _finding:
        if uri in _found:
            return _found[uri]
    version = cache.find_version(uri)
    with _finding:
        if uri not in _found and _users:
            if not _folders:
                _folders.append(_folder.enter_context(cache.private_folder()))
            small = version.size <= _SMALL_BYTES
            _found[uri] = None if small else Pieces(uri, version, f"{_folders[0]}/{len(_found)}")
        return _found.get(uri)


def map_files(function: Callable[[A], T], items: Sequence[A], find_path: Callable[[A], str] = str) -> Iterator[T]:
    """The results of `function`, which reads a file of each item, in their order; those of a store at the same time.

    The first error, in their order, is raised. `find_path` is for items that are no paths.
    """
    if len(items) < 2 or not is_uri(find_path(items[0])):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(_REQUESTS) as threads:
        waiting = [threads.submit(function, item) for item in items]
        try:
            yield from (future.result() for future in waiting)
        finally:
            for future in waiting:
                future.cancel()


class Pieces:
    """A file in a store whose pieces are fetched when they are needed."""

    def __init__(self, uri: str, version: Any, path: str):
        from rayrml.storage import cache

        self._uri, self._version = uri, version
        self._path, self._log = path, f"{path}.log"
        with Path(path).open("wb") as file:
            file.truncate(version.size)
        self._read = cache.open_range(uri)
        self._whole = ""  # the path of a copy of the whole file
        self._here: set[int] = set()  # numbers of the pieces that were fetched
        self._rounds = 0
        self._lock = threading.RLock()

    @property
    def path(self) -> str:
        """A local file that holds all pieces that were needed so far."""
        if self._whole and not Path(self._whole).exists():  # it had to make room
            self._whole = local_copy(self._uri)
        return self._whole or self._path

    def need(self, ranges: Iterable[Range]) -> None:
        """Fetch what is missing of these ranges of bytes; what lies beyond the end of the file is left out.

        Raises:
            OSError: it cannot be fetched, or the file has changed.
        """
        with self._lock:
            if missing := self._missing(ranges):
                self._fetch(missing)
                self._check()

    def ask_hdf5(self, question: Callable[[Any], T]) -> T:
        """The result of `question(h5py.File)`, which must not contain parts of the file that are still to be read.

        HDF5 itself reads the sparse copy and notes where; if that includes missing pieces, they are fetched, and the
        question is repeated, whatever came of it. So no Python runs inside of HDF5, which does not expect that.
        """
        from rayrml.storage import hdf5_reading

        fetched = False
        while True:
            with self._lock:
                if self._whole:
                    break
                failure, answer = None, None
                try:
                    with hdf5_reading.opened_noting_reads(self._path, self._log) as file:
                        answer = question(file)
                except Exception as error:  # raised below, if it is not due to what is missing
                    failure = error
                if missing := self._missing(hdf5_reading.noted_reads(self._log)):
                    self._fetch(missing)
                    fetched = True
                    continue
                if fetched:
                    self._check()
                if failure is not None:
                    raise failure
                return answer  # pyright: ignore[reportReturnType] (the question was answered)
        with hdf5_reading.opened(self.path) as file:
            return question(file)

    def opened(self) -> io.BufferedReader:
        """The file, open for reading; what is read is fetched."""
        return io.BufferedReader(_Stream(self, self._version.size), 2**12)

    def _missing(self, ranges: Iterable[Range]) -> list[int]:
        """The numbers of the pieces that must be fetched for these ranges of bytes."""
        if self._whole:
            return []
        last = self._version.size
        spans = ((max(start, 0), min(stop, last)) for start, stop in ranges)
        numbers = {
            number
            for start, stop in spans
            if start < stop
            for number in range(start // _PIECE_BYTES, (stop - 1) // _PIECE_BYTES + 1)
        }
        return sorted(numbers - self._here)

    def _fetch(self, numbers: Sequence[int]) -> None:
        self._rounds += 1
        size = self._version.size
        share = (len(self._here) + len(numbers)) * _PIECE_BYTES / size
        if share > _LARGEST_SHARE or self._rounds > max(_MOST_ROUNDS, size // _BYTES_PER_ROUND):
            self._whole = local_copy(self._uri)
            self._check()
            return
        runs = [
            [number for _, number in run] for _, run in itertools.groupby(enumerate(numbers), lambda at: at[1] - at[0])
        ]
        if len(runs) == 1:
            self._fetch_run(runs[0])
        else:
            with ThreadPoolExecutor(_REQUESTS) as threads:
                list(threads.map(self._fetch_run, runs))
        self._here.update(numbers)

    def _fetch_run(self, numbers: Sequence[int]) -> None:
        """Fetch consecutive pieces."""
        start = numbers[0] * _PIECE_BYTES
        count = min((numbers[-1] + 1) * _PIECE_BYTES, self._version.size) - start
        content = self._read(start, count)
        if len(content) < count:
            raise self._changed()
        with Path(self._path).open("r+b") as file:
            file.seek(start)
            file.write(content)

    def _check(self) -> None:
        """Raise OSError if the file is no longer the one of which pieces were fetched before."""
        from rayrml.storage import cache

        if cache.find_version(self._uri) != self._version:
            raise self._changed()

    def _changed(self) -> OSError:
        with _finding:
            _found.pop(self._uri, None)
        return OSError(errno.ESTALE, "It has changed while it was read", self._uri)


class _Stream(io.RawIOBase):
    """A file of which pieces are fetched."""

    def __init__(self, pieces: Pieces, size: int):
        self._pieces, self._size, self._position = pieces, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        if self._position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        self._pieces.need([(self._position, stop)])
        with Path(self._pieces.path).open("rb") as file:
            content = os.pread(file.fileno(), stop - self._position, self._position)
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
