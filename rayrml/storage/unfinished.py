"""The one way in which rayrml writes a file: under a temporary name, and under its own when it is whole."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from rayrml.storage.paths import decoded, is_uri

_numbers = itertools.count()
_writing: set[str] = set()
_ENDING = ".unfinished"
_SECONDS_ABANDONED = 86_400  # of a machine that this one cannot ask whether it still writes


class Unfinished(io.FileIO):
    """A new file, open for writing and reading, that takes the place of another one when it is whole.

    Until then it is called `.<name>.<machine>.<process>-<number>.unfinished` and lies beside the other one; what
    belongs into an object store lies in the folder for temporary files. Such files of processes that are dead are
    removed by the next one that writes the file.

    Once it is discarded, it pretends to be written, and if it is to hold errors, also once it cannot be: HDF5 must
    write what it holds before it closes a file, and crashes the process if it cannot.

    Attributes:
        target: where it will be.
        path: where it is.
        error: what went wrong when it was written, None if nothing did. Libraries do not always hand it on; of one that
            must not be broken off in a call of Python's, that is a signal, too.
    """

    def __init__(self, target: str | os.PathLike[str], *, durable: bool = False):
        """Open the file; with `durable`, it must outlive a power failure once it has its place.

        Raises:
            OSError: it cannot be made.
        """
        self.target = os.fspath(target)
        self.error: BaseException | None = None
        self._durable = durable
        self._discarded = self._holding = False
        name = Path(decoded(self.target)).name
        folder = Path(tempfile.gettempdir()) if is_uri(self.target) else Path(self.target).parent
        folder.mkdir(parents=True, exist_ok=True)
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
        """From now on, do not write: the file is not wanted any more."""
        self._discarded = True

    def hold_errors(self) -> None:
        """From now on, tell what goes wrong by `error` alone, and when the file is to be committed."""
        self._holding = True

    def commit(self) -> None:
        """Close the file and put it in its place. Raises OSError, and leaves the other one there, if that fails."""
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
        """Remove the file, unless it has its place already."""
        self.pretend()
        with contextlib.suppress(OSError):  # of what could not be written before
            self.close()
        own = Path(self.path)
        if own.name in _writing:
            _writing.discard(own.name)
            own.unlink(missing_ok=True)

    def __exit__(self, *exception: Any) -> None:
        """Remove the file unless it was committed."""
        self.discard()


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Put a file with this content in its place."""
    with Unfinished(path) as file:
        file.write(content)
        file.commit()


def _remove_abandoned(folder: Path, name: str) -> None:
    """Remove what processes that are dead have left of the file of that name."""
    begin, mine = f".{name}.", f".{name}.{socket.gethostname()}."
    with os.scandir(folder) as entries:
        found = [e for e in entries if e.name.startswith(begin) and e.name.endswith(_ENDING)]
    for entry in found:
        with contextlib.suppress(OSError):  # somebody else's, or removed by somebody else
            number = entry.name.removeprefix(mine).removesuffix(_ENDING).partition("-")[0]
            if entry.name.startswith(mine) and number.isdecimal():
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
        pass  # somebody else's
    return True


def _write_names(folder: Path) -> None:
    """Write a folder's list of files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
