"""IDX files: many arrays of one shape in a file, and their labels in another, as in MNIST.

Source: the format description on Yann LeCun's page of the MNIST database: two zero bytes, the type, the number of
axes, the length of each as a big-endian 32-bit integer, and the values.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from rayrml import storage
from rayrml.data.readers.reader import Part, Read, Reader
from rayrml.errors import DataError, Problem, explaining
from rayrml.storage.archives import check_memory


def mnist() -> Reader:
    """IDX files, also gzipped: one-channel images in `*images-idx3*`, labels in `*labels-idx1*` in the same folder.

    In a folder with files for both, `train*` is for training and `t10k*` or `test*` for evaluation and inference.
    """
    return Reader("images", _open, pixels=True, contents=_contents, find=_find, labels=_labels)


@contextlib.contextmanager
def _open(path: str) -> Iterator[Read]:
    images = _images(path)
    yield lambda name: images[int(name)][None]


def _contents(path: str) -> Sequence[str]:
    return [str(i) for i in range(len(_images(path)))]


def _images(path: str) -> np.ndarray:
    """(N, H, W) uint8."""
    array = _load(path)
    if array.ndim != 3 or array.dtype != np.uint8:
        expected = "Expected bytes with 3 axes: images, rows, columns"
        raise DataError(Problem(path, f"holds {array.dtype} with {array.ndim} axes. {expected}"))
    return array


def _find(path: str, part: Part) -> Sequence[str]:
    """The one image file at `path`: the file itself, or the one in the folder that belongs to `part`."""
    if storage.is_file(path):
        return [path]
    if not storage.is_folder(path):
        raise DataError(Problem(path, "no such folder or file"))
    files = sorted(p for p in _files_below(path) if _IMAGES.search(storage.split(p)[1]))
    # The same file may be there both packed and unpacked.
    unpacked = [p for p in files if not (p.endswith(".gz") and p.removesuffix(".gz") in files)]
    own = [p for p in unpacked if _PARTS[part].match(storage.split(p)[1])] or unpacked
    if len(own) != 1:
        names = ", ".join(storage.split(p)[1] for p in own) or "none"
        raise DataError(Problem(path, f"expected one IDX file of {part} images here, found {names}"))
    return own


def _files_below(path: str) -> list[str]:
    if storage.is_uri(path):
        return [storage.join(path, name) for name in storage.walk(path)[0]]
    return [str(p) for p in Path(path).rglob("*") if p.is_file()]


def _labels(path: str, labels_path: str | None) -> np.ndarray:
    """(N,) int64 labels of the images in the file at `path`."""
    place = labels_path if labels_path and not storage.is_folder(labels_path) else _labels_beside(path, labels_path)
    labels = _load(place)
    count = len(_images(path))
    if labels.shape != (count,):
        raise DataError(Problem(place, f"holds labels of shape {labels.shape}, but '{path}' has {count} images"))
    return labels.astype(np.int64)


def _labels_beside(path: str, folder: str | None) -> str:
    above, own = storage.split(path)
    name = own.replace("images", "labels").replace("idx3", "idx1")
    for candidate in (name, name.removesuffix(".gz"), f"{name}.gz"):
        place = storage.join(folder or above, candidate)
        if storage.is_file(place) and place != path:
            return place
    raise DataError(Problem(path, f"has no label file next to it. Expected '{name}'"))


@functools.lru_cache(maxsize=4)
def _load(path: str) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order; read once in each process."""
    with (
        explaining(path, "cannot be unpacked", Exception),  # zlib's own errors, for damaged files
        explaining(path, "cannot be read", (OSError, EOFError, ValueError)),
        Path(storage.local_copy(path)).open("rb") as file,
    ):
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return _content(gzip.GzipFile(fileobj=file) if packed else file, path)


def _content(file: IO[bytes] | gzip.GzipFile, path: str) -> np.ndarray:
    """The array for `_load`. Reads no more than the header declares: a small file can be unpacked to any size."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise DataError(Problem(path, "is not an IDX file"))
    kind, axes = np.dtype(_TYPES[start[2]]), start[3]
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(Problem(path, "is not an IDX file: it ends inside its header"))
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    size = math.prod(shape) * kind.itemsize
    check_memory(size, path)
    content = file.read(size + 1)
    if len(content) != size:
        raise DataError(Problem(path, f"is truncated, or longer than its {shape} values"))
    array = np.frombuffer(content, kind).reshape(shape)
    return array.astype(kind.newbyteorder("="), copy=False)


_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES = re.compile(r"images[-.]idx3", re.IGNORECASE)
_PARTS = {"training": re.compile("train", re.IGNORECASE), "test": re.compile("t10k|test", re.IGNORECASE)}

READERS = {"mnist": mnist}
