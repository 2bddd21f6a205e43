"""Parquet files whose rows hold images, as Hugging Face writes data sets.

An image is a structure of its `bytes` and the `path` that it came from, or just its bytes. Columns of classes hold
numbers, whose names are in the file's metadata. Source: https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from rayrml.errors import DataError, Problem, explaining
from rayrml.storage.files import local_copy, read_start

_ROWS = 64  # read at a time: an image has up to some MB
_LFS = b"version https://git-lfs"
_HEIF = re.compile(rb"(?s).{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)")  # which Pillow alone does not know
# What columns hold.
_IMAGES, _TEXT, _WHOLE, _FRACTIONS, _TRUTH = "images", "text", "whole numbers", "numbers with fractions", "truth values"
_PLAIN = (_TEXT, _WHOLE, _FRACTIONS, _TRUTH)
_OTHERS = "other values"
_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}  # other formats end with their name


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """The columns of a Parquet file.

    Attributes:
        path: the file.
        num_rows: number of rows.
        images: columns of images.
        plain: columns with one text, number or truth value in each row.
        fractions: those of them whose numbers may have fractions.
        class_names: of the columns whose numbers stand for classes, the names of the classes.
        others: columns of other types.
        kinds: what each column holds: files of one data set have the same.
    """

    path: str
    num_rows: int
    images: tuple[str, ...]
    plain: tuple[str, ...]
    fractions: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]]
    others: tuple[str, ...]
    kinds: Mapping[str, str]


def open_table(path: str) -> ImageTable:
    """The columns of a file. Raises DataError if it is damaged, or has rows without images."""
    with explaining(path, "cannot be read"):
        if read_start(path, len(_LFS)) == _LFS:
            message = "is a pointer of Git LFS, not the file itself. Fetch that with `git lfs pull`"
            raise DataError(Problem(path, message))
    with _opened(path) as file:
        schema = file.schema_arrow
        if twice := [name for name in schema.names if schema.names.count(name) > 1]:
            raise DataError(Problem(path, f"has several columns named '{twice[0]}'"))
        kinds = {field.name: _find_kind(file, field) for field in schema}
        num_rows = file.metadata.num_rows
    named = {kind: tuple(name for name, own in kinds.items() if own == kind) for kind in set(kinds.values())}
    images = named.get(_IMAGES, ())
    if not images and num_rows:
        columns = ", ".join(f"'{field.name}' ({field.type})" for field in schema)
        raise DataError(Problem(path, f"has no column of images: {columns}"))
    return ImageTable(
        path,
        num_rows,
        images,
        tuple(name for name, kind in kinds.items() if kind in _PLAIN),
        named.get(_FRACTIONS, ()),
        {name: found for name, found in _class_names(schema).items() if kinds.get(name) == _WHOLE},
        named.get(_OTHERS, ()),
        kinds,
    )


def read_plain(table: ImageTable, column: str) -> list[Any]:
    """The values of a plain column, None where there is none."""
    with _opened(table.path) as file:
        return _checked(file.read(columns=[column])[column].to_pylist(), table)


def read_paths(table: ImageTable, column: str) -> list[str | None]:
    """The paths that the images of a column came from, None where none is told."""
    with _opened(table.path) as file:
        kind = file.schema_arrow.field(column).type
        index = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
        if index < 0 or _plain_kind(kind.field(index).type) != _TEXT:
            return [None] * table.num_rows
        rows = _checked(file.read(columns=[f"{column}.path"])[column].to_pylist(), table)
        return [row and row["path"] for row in rows]


def read_images(table: ImageTable) -> Iterator[tuple[bytes, ...]]:
    """The images of each row, one of each column of images. Raises DataError for a row without one."""
    with _opened(table.path) as file:
        numbers = iter(range(1, table.num_rows + 1))
        for batch in file.iter_batches(_ROWS, columns=list(table.images)):
            columns = [_contents(batch.column(name)) for name in table.images]
            for row in zip(*columns, strict=True):
                if (number := next(numbers, None)) is None:
                    raise _damaged(table)
                for name, content in zip(table.images, row, strict=True):
                    if content is None:
                        message = f"row {number} holds no image in column '{name}'. Expected its bytes in the file"
                        raise DataError(Problem(table.path, message))
                yield row
        if next(numbers, None) is not None:
            raise _damaged(table)


def find_ending(content: bytes) -> str | None:
    """The ending of an image file with this content, None if it is no image."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            return _ENDINGS.get(str(image.format), f".{str(image.format).lower()}")
    except Exception:  # Pillow raises errors of many types for damaged headers
        return ".heic" if _HEIF.match(content) else None


def _checked(values: list[Any], table: ImageTable) -> list[Any]:
    """The values of a column. Raises DataError unless there is one for each row."""
    if len(values) != table.num_rows:
        raise _damaged(table)
    return values


def _damaged(table: ImageTable) -> DataError:
    return DataError(Problem(table.path, f"is damaged: it does not hold the {table.num_rows:,} rows that it declares"))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[parquet.ParquetFile]:
    """A file that is open in a block, whose errors become those of the user's data."""
    explained = explaining(path, "cannot be read", (OSError, pa.ArrowException, UnicodeDecodeError))
    with explained, parquet.ParquetFile(local_copy(path)) as file:
        yield file


def _find_kind(file: parquet.ParquetFile, field: pa.Field) -> str:
    """What a column holds."""
    if _can_hold_images(field.type) and _holds_images(file, field.name):
        return _IMAGES
    return _plain_kind(field.type) or _OTHERS


def _plain_kind(kind: pa.DataType) -> str | None:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _TEXT
    tests = {_WHOLE: types.is_integer, _FRACTIONS: types.is_floating, _TRUTH: types.is_boolean}
    return next((name for name, test in tests.items() if test(kind)), None)


def _can_hold_images(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_struct(kind):
        return (index := kind.get_field_index("bytes")) >= 0 and _can_hold_images(kind.field(index).type)
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _holds_images(file: parquet.ParquetFile, name: str) -> bool:
    """Whether one of the first contents of a column is an image: sounds are stored in the same way."""
    for batch in file.iter_batches(_ROWS, columns=[name]):
        if found := [content for content in _contents(batch.column(name)) if content]:
            return any(find_ending(content) is not None for content in found)
    return False


def _contents(column: pa.Array) -> list[bytes | None]:
    values = column.to_pylist()
    return [row and row["bytes"] for row in values] if pa.types.is_struct(column.type) else values


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The names of the classes of each column that has some, by the metadata of Hugging Face's library."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        classes = {name: row["names"] for name, row in features.items() if row.get("_type") == "ClassLabel"}
        return {name: tuple(map(str, names)) for name, names in classes.items() if names and isinstance(names, list)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
