"""Uploads as the readers' files: what is checked of each before it is read, and its name in what readers say."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from rayrml.data.readers.images import read_header
from rayrml.errors import DataError, Problem, RayrmlError, printable
from rayrml.serving.uploads import Upload

INPUT_TYPES = ("images", "numpy", "hdf5")  # of networks that can be served
_TIFF = "TIFF"


class Stored(NamedTuple):
    """An upload that was written for a reader.

    Attributes:
        path: of the file.
        kind: files of the same kind are planned alike, apart from their path; None if that is not certain.
    """

    path: str
    kind: Hashable | None


class UploadFiles:
    """Writes uploads into a folder of its own.

    Args:
        input_type: the network's, one of `INPUT_TYPES`.
        max_pixels: of an image, or values of an array.
    """

    def __init__(self, input_type: str, max_pixels: int):
        self._type = input_type
        self._most = max_pixels
        self._folder = tempfile.TemporaryDirectory(prefix="rayrml-serve-")
        self._ending = {"images": "image", "numpy": "npy", "hdf5": "h5"}[input_type]

    def path_of(self, number: int) -> str:
        """The path of the upload of this number."""
        return str(Path(self._folder.name) / f"{number}.{self._ending}")

    @contextlib.contextmanager
    def stored(self, upload: Upload, number: int) -> Iterator[Stored]:
        """The upload as a file, which is removed after the block; `number` tells those of one batch apart.

        Raises:
            DataError: it is not what the network takes, or above the limit.
        """
        path = self.path_of(number)
        try:
            kind = self._write_image(path, upload) if self._type == "images" else self._write_array(path, upload)
            yield Stored(path, kind)
        finally:
            Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    def _write_image(self, path: str, upload: Upload) -> Hashable | None:
        if upload.is_array:
            raise DataError(Problem("", "It is an array, but the network takes images"))
        Path(path).write_bytes(upload.content)
        header = read_header(path)
        height, width = header.size
        if height * width > self._most:
            raise DataError(Problem("", f"It has {width}x{height} pixels. Expected at most {self._most:,} in all"))
        return None if header.format == _TIFF else header

    def _write_array(self, path: str, upload: Upload) -> Hashable:
        if not upload.is_array:
            raise DataError(Problem("", "It is not an array. Expected numpy's format .npy, or JSON"))
        shape, dtype = _read_array_header(upload.content)
        if math.prod(shape) > self._most:
            raise DataError(Problem("", f"It has the shape {list(shape)}. Expected at most {self._most:,} values"))
        if self._type == "numpy":
            Path(path).write_bytes(upload.content)
        else:
            with h5py.File(path, "w") as file:
                file["array"] = np.load(io.BytesIO(upload.content), allow_pickle=False)
        return shape, dtype


def _read_array_header(content: bytes) -> tuple[tuple[int, ...], str]:
    """The shape and the type of an array whose bytes are all there. Raises DataError."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except Exception:  # from SyntaxError to struct.error, depending on which byte is wrong
        raise DataError(Problem("", "cannot be read. Its header is damaged")) from None
    if dtype.hasobject:
        raise DataError(Problem("", "cannot be read. It holds Python objects, not numbers"))
    if math.prod(shape) * dtype.itemsize > len(content) - file.tell():
        raise DataError(Problem("", f"cannot be read. It contains less data than its shape {list(shape)} requires"))
    return tuple(shape), dtype.str


def explain(error: RayrmlError, path: str) -> str:
    """What is wrong with an upload, without the path of its file."""
    texts = [str(problem).replace(path, "the file") for problem in error.problems]
    return printable("; ".join(text.removeprefix("the file: ").removeprefix(": ") for text in texts))
