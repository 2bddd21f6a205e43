"""The text files for a run's figures: they grow by whole lines, and earlier files are kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Sequence

from rayrml import storage
from rayrml.errors import explaining
from rayrml.reporting import stored_logs
from rayrml.reporting.stored_logs import Upload

_FAILED = "cannot be written"


class LogFile:
    """A file of lines that begin with an epoch. For an object store, it is kept locally, and uploaded bit by bit."""

    def __init__(self, path: str, *, append: bool):
        """Open the file, emptied unless `append` is set. Raises DataError if it cannot be written."""
        self.path = path
        self._pending: list[str] = []
        self._upload: Upload | None = None
        with explaining(self.path, _FAILED):
            if storage.is_uri(path):
                self._descriptor, place = tempfile.mkstemp()
                os.remove(place)  # noqa: PTH107 (disappears with the process)
                if append and storage.exists(path):
                    os.write(self._descriptor, stored_logs.read(path))
                self._upload = Upload(path, self._descriptor)
                self.publish()
            else:
                os.makedirs(storage.parent(path), exist_ok=True)  # noqa: PTH103 (a string)
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (0 if append else os.O_TRUNC), 0o666)
        self._end = os.lseek(self._descriptor, 0, os.SEEK_END)

    def write(self, line: str) -> None:
        """Add a line, which is in the file after the next `flush`."""
        self._pending.append(line)

    def flush(self) -> None:
        """Write the added lines. Raises DataError if that fails; the file then ends with the last whole line."""
        content = "".join(self._pending).encode()
        self._pending.clear()
        if content:
            with explaining(self.path, _FAILED):
                self._replace_from(self._end, content)

    def publish(self) -> None:
        """Upload what is new if the file belongs in an object store: to the file, or to a part beside it."""
        self._publish(last=False)

    def keep(self, until: tuple[int, ...], *, num_fields: int) -> tuple[int, ...]:
        """Drop the lines whose first numbers come after `until`, and those that lack `num_fields` fields.

        Returns the first numbers of the last remaining line, () if there is none. A line that was cut off when its
        process was killed is dropped, too.
        """
        lines = self._content().splitlines(keepends=True)
        kept: list[str] = []
        last: tuple[int, ...] = ()
        for line in lines:
            is_whole = line.endswith("\n") and len(line.split()) >= num_fields
            place = _place(line, len(until)) if is_whole else None
            if place and place <= until:
                kept.append(line)
                last = place
        if kept != lines:
            with explaining(self.path, _FAILED):
                self._replace_from(0, "".join(kept).encode())
            if self._upload is not None:
                self._upload.replace()
        return last

    def close(self) -> None:
        """Write what is pending and close the file. Raises DataError if that fails."""
        if self._descriptor >= 0:
            try:
                self.flush()
                self._publish(last=True)
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def _publish(self, *, last: bool) -> None:
        if self._upload is not None:
            with explaining(self.path, _FAILED):
                self._upload.publish(last=last)

    def _content(self) -> str:
        with explaining(self.path, _FAILED):
            return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0).decode(errors="replace")

    def _replace_from(self, start: int, content: bytes) -> None:
        rest, place = content, start
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, place)
                rest, place = rest[written:], place + written
        except OSError:
            # Keep no partial line.
            place = start + content.rfind(b"\n", 0, place - start) + 1
            raise
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, place)
            self._end = place


def set_aside(paths: Sequence[str]) -> list[str]:
    """Rename the non-empty files among `paths` with one common number, `out_train.1.txt`; returns the new paths.

    Raises:
        DataError: a file cannot be renamed.
    """
    filled = [path for path in paths if _holds_something(path)]
    for number in itertools.count(1) if filled else ():
        kept = {path: storage.marked(path, f".{number}") for path in filled}
        if not any(storage.exists(storage.marked(path, f".{number}")) for path in paths):
            for path, other in kept.items():
                with explaining(path, _FAILED):
                    storage.move(path, other)
            return list(kept.values())
    return []


def _place(line: str, count: int) -> tuple[int, ...] | None:
    """The first `count` numbers of a line, None if it begins otherwise."""
    fields = line.split()[:count]
    return tuple(map(int, fields)) if all(field.isdecimal() for field in fields) else None


def _holds_something(path: str) -> bool:
    with explaining(path, _FAILED), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return bool(stored_logs.merge(path) if storage.is_uri(path) else storage.read(path))
    return False
