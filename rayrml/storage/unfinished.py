"""How rayrml writes every file: under a temporary name, which becomes its own when the file is complete."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import socket
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from rayrml.storage.paths import decoded, is_uri

_numbers = itertools.count()
_writing: set[str] = set()
_ENDING = ".unfinished"
_LONGEST_NAME = 150  # bytes; file systems allow 255, and the machine's name has up to 64
_SECONDS_ABANDONED = 86_400  # for files of other machines, whose processes cannot be checked from here


class Unfinished(io.FileIO):
    """A new file, open for writing and reading, that replaces another one when it is complete.

    Until then it is called `.<name>.<machine>.<process>-<number>.unfinished`, next to the other one; a file for an
    object store is in the folder for temporary files. Files left by dead processes are removed by the next process that
    writes the file.

    Once it is discarded, it only pretends to write; if it holds errors, also once a write has failed: HDF5 must write
    its buffers before it closes a file, and crashes the process if it cannot.

    Attributes:
        target: the final path.
        path: the current path.
        error: what went wrong during writing, None if nothing did. Libraries do not always pass it on; for a library
            whose calls to Python must not be interrupted, it can also be a signal.
    """

    def __init__(self, target: str | os.PathLike[str], *, durable: bool = False, cleans: bool = True):
        """Open the file; with `durable`, it survives a power failure once it is in place.

        A writer of many files in a folder calls `remove_abandoned` once, and passes `cleans=False`: each search for
        abandoned files lists the whole folder.

        Raises:
            OSError: it cannot be created.
        """
        self.target = os.fspath(target)
        self.error: BaseException | None = None
        self._durable = durable
        self._discarded = self._holding = False
        name = _begin(Path(decoded(self.target)).name)
        folder = Path(tempfile.gettempdir()) if is_uri(self.target) else Path(self.target).parent
        folder.mkdir(parents=True, exist_ok=True)
        if cleans:
            _remove_abandoned(folder, name)
        own = f".{name}.{socket.gethostname()}.{os.getpid()}-{next(_numbers)}{_ENDING}"
        self.path = str(folder / own)
        _writing.add(own)
        try:
            super().__init__(self.path, "x+")
        except BaseException:
            _writing.discard(own)
            raise

    def write(self, content: Any, /) -> int:
        """Write all of `content`, in as many steps as the system takes."""
        count = 0
        try:
            rest = memoryview(content).cast("B")
            count = len(rest)
            while len(rest) and not self._discarded:
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self.error = self.error or error
            if not self._holding:
                raise
            self.pretend()
        return count

    def truncate(self, size: int | None = None, /) -> int:
        """Set the file's length."""
        return super().truncate(size) if not self._discarded else size or 0

    def pretend(self) -> None:
        """Only pretend to write from now on: the file is no longer wanted."""
        self._discarded = True

    def hold_errors(self) -> None:
        """From now on, report errors only through `error` and on `commit`."""
        self._holding = True

    def commit(self) -> None:
        """Close the file and move it into place. Raises OSError if that fails, and leaves the other file unchanged."""
        if self.error is not None:
            raise self.error
        if self._durable:
            os.fsync(self.fileno())
        self.close()
        if is_uri(self.target):
            from rayrml.storage.remote import upload

            upload(self.path, self.target)
            Path(self.path).unlink()
        else:
            os.replace(self.path, self.target)  # noqa: PTH105 (a string)
            if self._durable:
                _write_names(Path(self.target).parent)
        _writing.discard(Path(self.path).name)

    def discard(self) -> None:
        """Remove the file unless it is already in place."""
        self.pretend()
        with contextlib.suppress(OSError):  # for buffered data that could not be written
            self.close()
        own = Path(self.path)
        if own.name in _writing:
            _writing.discard(own.name)
            own.unlink(missing_ok=True)

    def __exit__(self, *exception: Any) -> None:
        """Remove the file unless it was committed."""
        self.discard()


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file with this content, replacing an old one when it is complete."""
    with Unfinished(path) as file:
        file.write(content)
        file.commit()


def remove_abandoned(folder: str | os.PathLike[str]) -> None:
    """Remove what dead processes left of all files of a folder, if there is one on this machine."""
    if not is_uri(folder):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _remove_abandoned(Path(folder), "")


def _begin(name: str) -> str:
    """The beginning of an unfinished file's name; a name so long that no more fits into it is replaced by a number."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else f"{zlib.crc32(encoded):08x}"


def _remove_abandoned(folder: Path, name: str) -> None:
    """Remove what dead processes left of the file whose name begins so, or of all files if the name is empty."""
    begin, machine = f".{name}." if name else ".", socket.gethostname()
    with os.scandir(folder) as entries:
        found = [e for e in entries if e.name.startswith(begin) and e.name.endswith(_ENDING)]
    for entry in found:
        with contextlib.suppress(OSError):  # another user's, or already removed by another process
            before, _, last = entry.name.removesuffix(_ENDING).rpartition(".")
            number = last.partition("-")[0]
            is_mine = before.endswith(f".{machine}") and (not name or before == f".{name}.{machine}")
            if is_mine and number.isdecimal():
                abandoned = entry.name not in _writing if int(number) == os.getpid() else not _lives(int(number))
            else:
                abandoned = time.time() - entry.stat().st_mtime > _SECONDS_ABANDONED
            if abandoned:
                os.unlink(entry.path)  # noqa: PTH108


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def _write_names(folder: Path) -> None:
    """Flush a folder's file list to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
