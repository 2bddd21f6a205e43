"""Logs in object stores, which cannot append to a file: what is added goes into parts, which are merged now and then.

Parts of `out_train.txt` are in the folder `out_train.txt.parts`, each named by its place in the log in bytes. They hold
at most a quarter of it. So all that is uploaded is a few times the log, however often, and the file itself always is a
valid log, if without the newest lines. With its parts it is complete: a run that is resumed goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from rayrml import storage

PARTS = ".parts"
_SMALL_BYTES = 2**14  # a file that is always uploaded as a whole
_SHARE_OF_PARTS = 0.25


def read(path: str) -> bytes:
    """The log with its parts. Raises OSError if there is none or it cannot be read."""
    content = storage.read(path)
    for start, part in _list_parts(path):
        if start == len(content):  # others were merged, or belong to what was replaced
            content += storage.read(part)
    return content


def merge(path: str) -> bytes:
    """The log with its parts, which are merged into the file."""
    content = read(path)
    if parts := [part for _, part in _list_parts(path)]:
        storage.write(path, content)
        _remove(parts)
    return content


class Upload:
    """What of a log, whose content is in a local file, is in the store."""

    def __init__(self, path: str, descriptor: int):
        self._path, self._descriptor = path, descriptor
        self._sent = self._whole = -1  # bytes that are in the store, and of these in the file itself
        self._parts = [part for _, part in _list_parts(path)]

    def replace(self) -> None:
        """Upload the log as a whole the next time: more than its end has changed."""
        self._sent = -1

    def publish(self, *, last: bool = False) -> None:
        """Upload what has been added; the `last` time, merge the parts. Raises OSError if that fails."""
        size = os.fstat(self._descriptor).st_size
        if size == self._sent and not (last and self._parts):
            return
        if last or self._sent < 0 or size <= _SMALL_BYTES or size - self._whole > _SHARE_OF_PARTS * size:
            storage.write(self._path, os.pread(self._descriptor, size, 0))
            _remove(self._parts)  # after the file is there
            self._parts, self._whole = [], size
        else:
            part = storage.join(_parts_folder(self._path), f"{self._sent:015}")
            storage.write(part, os.pread(self._descriptor, size - self._sent, self._sent))
            self._parts.append(part)
        self._sent = size


def _parts_folder(path: str) -> str:
    folder, name = storage.split(path)
    return storage.join(folder, f"{name}{PARTS}")


def _list_parts(path: str) -> Iterator[tuple[int, str]]:
    """The parts of a log in their order: the place of each in the log, and its path."""
    folder = _parts_folder(path)
    for name in storage.files(folder):
        if name.isdecimal():
            yield int(name), storage.join(folder, name)


def _remove(parts: list[str]) -> None:
    for part in parts:
        storage.remove(part)
