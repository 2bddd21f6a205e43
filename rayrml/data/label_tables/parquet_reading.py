"""Label tables from Parquet files, and which types of columns can hold labels."""

from __future__ import annotations

import io
import re

import pyarrow as pa
from pyarrow import parquet

from rayrml import storage
from rayrml.data.label_tables.table import LabelTable, check_column_names
from rayrml.errors import explaining

_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0")


def read_parquet(path: str) -> LabelTable:
    """The table in a Parquet file, without columns that can hold neither labels nor names, such as images.

    Raises:
        DataError: it is damaged, or several columns have the same name.
    """
    place = storage.split(path)[1]
    with explaining(place, "cannot be read", (OSError, pa.ArrowException)):
        source = io.BytesIO(storage.read(path)) if storage.is_uri(path) else path
        with parquet.ParquetFile(source) as file:
            schema = file.schema_arrow
            check_column_names(schema.names, place)
            usable = [field.name for field in schema if is_usable(field.type) and not _is_index(field)]
            table = file.read(columns=usable)
            return LabelTable(
                path=path,
                columns={name: _without_dictionary(table[name]) for name in usable},
                num_rows=file.metadata.num_rows,
                unit="row",
                first=1,
                skipped=tuple(field.name for field in schema if not is_usable(field.type)),
            )


def is_usable(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold labels or names: text, numbers, booleans, or lists of text."""
    if pa.types.is_dictionary(kind) or is_list(kind):
        kind = kind.value_type
        return is_text(kind) or pa.types.is_integer(kind)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return is_text(kind) or numeric or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether the type is one of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether the type is one of lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_index(field: pa.Field) -> bool:
    """Whether a column is the numbers of the rows, which pandas writes too."""
    return _INDEX.fullmatch(field.name) is not None and pa.types.is_integer(field.type)


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
