"""Millions of names in little memory, which the processes of a machine share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

SEPARATOR = "\0"  # the one byte that occurs neither in paths nor in names inside files
_AT_ONCE = 2**16  # names that are encoded or decoded together, which is faster than one by one


class Names(Sequence[str]):
    """Names as one text and where each begins: their length and 9 bytes each, instead of a hundred.

    Ray keeps the two arrays in its object store and gives them to all processes of a machine without copying them.

    Args:
        text: (bytes,) uint8, the encoded names, each with `SEPARATOR` after it.
        starts: (n + 1,) int64, where each name begins in the text, and where the text ends.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray):
        self._text = text
        self._starts = starts

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """These names, in their order."""
        parts: list[np.ndarray] = []
        left = iter(names)
        while some := list(itertools.islice(left, _AT_ONCE)):
            parts.append(np.frombuffer(os.fsencode(SEPARATOR.join([*some, ""])), np.uint8))
        begins = itertools.accumulate((len(part) for part in parts), initial=0)
        # Part by part: a mask of all bytes would be as large as the text.
        starts = [begin + np.flatnonzero(part == 0) + 1 for begin, part in zip(begins, parts, strict=False)]
        text = np.concatenate(parts) if parts else np.empty(0, np.uint8)
        return cls(text, np.concatenate([[0], *starts]))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One name, or several consecutive ones."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return [self[i] for i in range(start, stop, step)]
            return self._decoded(start, stop)
        number = range(len(self))[index]
        return os.fsdecode(self._text[self._starts[number] : self._starts[number + 1] - 1].tobytes())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._decoded(start, min(start + _AT_ONCE, len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Names):
            return np.array_equal(self._text, other._text)
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        some = ", ".join(map(repr, self[:3]))
        return f"Names({some}{', ...' if len(self) > 3 else ''})"

    def take(self, indices: np.ndarray | Sequence[int]) -> Names:
        """The names at `indices` (n,), which may come several times."""
        numbers = np.asarray(indices, np.int64)
        starts = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(self._starts[numbers + 1] - self._starts[numbers], out=starts[1:])
        text = np.empty(starts[-1], np.uint8)
        # Each byte takes an index of eight bytes, so not all at once.
        for first in range(0, len(numbers), _AT_ONCE):
            own = starts[first : first + _AT_ONCE + 1]
            offsets = self._starts[numbers[first : first + _AT_ONCE]] - own[:-1]
            text[own[0] : own[-1]] = self._text[np.repeat(offsets, np.diff(own)) + np.arange(own[0], own[-1])]
        return Names(text, starts)

    def encoded(self) -> bytes:
        """All names, each with `SEPARATOR` after it."""
        return self._text.tobytes()

    def encoded_each(self) -> Iterator[bytes]:
        """Each name, encoded."""
        for start in range(0, len(self), _AT_ONCE):
            yield from self._bytes(start, min(start + _AT_ONCE, len(self))).split(SEPARATOR.encode())

    def _decoded(self, start: int, stop: int) -> list[str]:
        return os.fsdecode(self._bytes(start, stop)).split(SEPARATOR) if start < stop else []

    def _bytes(self, start: int, stop: int) -> bytes:
        """At least one name, with separators between them."""
        return self._text[self._starts[start] : self._starts[stop] - 1].tobytes()


def take_names(names: Sequence[str], indices: Sequence[int] | np.ndarray) -> Sequence[str]:
    """The names at `indices`, which may come several times."""
    return names.take(indices) if isinstance(names, Names) else [names[i] for i in indices]
