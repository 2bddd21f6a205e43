"""What a row of the data types builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np

Part = Literal["training", "test"]
Read = Callable[[str], Any]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How the files of a data type are recognized, and how their samples become arrays.

    Attributes:
        noun: what samples are called in messages.
        open: a file's path -> a context manager for the open file, which gives a function from an array's name to the
            array: anything with `shape`, `dtype` and slices, read when sliced. The name is "" in files of one array.
        read: a file's path -> the one array in it, for types whose files are always read whole; None for all others.
        extensions: extensions of the files that belong to the type, in lower case.
        pixels: whether arrays are images (C, H, W) that stand for fractions of white: bytes, or floats from 0 to 1.
        floats: whether all images are floats.
        contents: a file's path -> the names of the arrays in it. None if each file is one array.
        find: (folder or file, part) -> the files of the training or the test samples, for types that recognize theirs
            by name. None if every file with one of the extensions belongs to the type.
        labels: (file, label file or None) -> an integer for each of the file's arrays. None if there are no labels.
        stacked: whether each array holds many samples along its first axis; None if that has to be found out.
        channels_last: whether the last axis of stored arrays is the first one of those that `open` gives: after that of
            the samples if arrays are `stacked`.
        generate: part -> the names of samples that are computed instead of read; `open` gets "" for them.
    """

    noun: str
    open: Callable[[str], AbstractContextManager[Read]]
    read: Callable[[str], np.ndarray] | None = None
    extensions: frozenset[str] = frozenset()
    pixels: bool = False
    floats: bool = False
    contents: Callable[[str], Sequence[str]] | None = None
    find: Callable[[str, Part], Sequence[str]] | None = None
    labels: Callable[[str, str | None], np.ndarray] | None = None
    stacked: bool | None = False
    channels_last: bool = False
    generate: Callable[[Part], Sequence[str]] | None = None

    def decode(self, path: str, name: str = "") -> np.ndarray:
        """One array of a file. Raises a DataError that names the file."""
        with self.open(path) as read:
            return np.asarray(read(name))
