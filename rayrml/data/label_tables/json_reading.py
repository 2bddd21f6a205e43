"""Label tables from JSON: one object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

from rayrml import storage
from rayrml.data.label_tables.parquet_reading import is_usable
from rayrml.data.label_tables.table import LabelTable, check_column_names
from rayrml.data.label_tables.text_files import find_byte, line_of, read_text
from rayrml.errors import DataError, Problem

_PIECE = 2**20  # bytes that are parsed at a time
_DEEPEST = 900
_STEPS = np.zeros(256, np.int8)  # what a byte adds to the depth of nesting
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
_SHAPES = 'Expected one object for each file, such as {"file": "a.jpg", "label": "cat"}'


def read_json(path: str) -> LabelTable:
    """The table in a file of JSON objects, one a line; in a `.json` file, in one array.

    Raises:
        DataError: a line is not a JSON object, or a column holds values of different types.
    """
    place = storage.split(path)[1]
    content = read_text(path)
    if not content.strip():
        raise DataError(Problem(place, f"is empty. {_SHAPES}"))
    in_array = content[:100].lstrip().startswith(b"[")
    if not in_array and place.lower().removesuffix(".gz").endswith(".json"):
        _check_lines_of_objects(content, place)
    table, lines = _read_array(content, place) if in_array else _read_lines(content, place)
    names = [name for name in table.column_names if is_usable(table[name].type)]
    check_column_names(names, place)
    return LabelTable(
        path=path,
        columns={name: table[name] for name in names},
        num_rows=table.num_rows,
        unit="row" if in_array else "line",
        first=1,
        lines=lines,
        skipped=tuple(name for name in table.column_names if name not in names),
    )


def _read_array(content: bytes, place: str) -> tuple[pa.Table, None]:
    """The objects of an array."""
    try:
        table = _parse_array(content)
    except pa.ArrowException as error:
        raise _explained_array(content, place, str(error)) from None
    if table is None:
        raise _explained_array(content, place, "Expected one array of objects")
    return table, None


def _explained_array(content: bytes, place: str, reason: str) -> DataError:
    try:
        rows = json.loads(content)
    except RecursionError:
        return DataError(Problem(place, f"is nested too deeply. {_SHAPES}"))
    except json.JSONDecodeError as error:
        line = line_of(content, len(error.doc[: error.pos].encode()), place)
        return DataError(Problem(line, f"is not valid JSON. {error.msg}"))
    return _first_fault(((f"{place}, row {i}", row) for i, row in enumerate(rows, 1)), place, reason)


def _read_lines(content: bytes, place: str) -> tuple[pa.Table, np.ndarray | None]:
    """The objects of all lines, and the line of each unless some lines are empty."""
    ends = find_byte(content, b"\n")
    if content.endswith(b"\n"):
        ends = ends[:-1]
    lengths = np.diff(ends, prepend=-1, append=len(content) - content.endswith(b"\n"))
    filled = np.flatnonzero(lengths > 1)
    if len(filled) <= len(ends):  # some are empty; a line of spaces alone is found here as well
        lines = content.split(b"\n")
        filled = np.array([i for i, line in enumerate(lines) if line.strip()])
        content = b"\n".join(lines[i] for i in filled)
    try:
        tables = [_parse_array(b"[%b]" % piece.replace(b"\n", b"\n,")) for piece in _pieces(content)]
        whole = [table for table in tables if table is not None]
        table = pa.concat_tables(whole, promote_options="permissive")
    except pa.ArrowException as error:
        raise _explained_lines(content, filled, place, str(error)) from None
    if len(whole) < len(tables) or len(filled) != table.num_rows:
        raise _explained_lines(content, filled, place, "Expected one object in each line")
    return table, None if filled[-1] == len(filled) - 1 else filled + 1


def _pieces(content: bytes) -> Iterator[bytes]:
    """The content, cut between lines."""
    begin = 0
    while begin < len(content):
        end = content.find(b"\n", begin + _PIECE)
        end = len(content) if end < 0 else end
        yield content[begin:end].removesuffix(b"\n")
        begin = end + 1


def _explained_lines(content: bytes, filled: np.ndarray, place: str, reason: str) -> DataError:
    def rows() -> Iterator[tuple[str, Any]]:
        for number, line in zip(filled + 1, content.split(b"\n"), strict=False):
            try:
                yield f"{place}, line {number}", json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                text = getattr(error, "msg", "It is nested too deeply")
                raise DataError(Problem(f"{place}, line {number}", f"is not one JSON object. {text}")) from None

    try:
        return _first_fault(rows(), place, reason)
    except DataError as error:
        return error


def _first_fault(rows: Iterable[tuple[str, Any]], place: str, reason: str) -> DataError:
    """What is wrong with the first row that is not an object, or has a value of another type than the rows before."""
    types: dict[str, tuple[str, str]] = {}
    for row_place, row in rows:
        if not isinstance(row, dict):
            return DataError(Problem(row_place, f"is not an object but {_type_name(row)}. {_SHAPES}"))
        for key, value in row.items():
            if value is None:
                continue
            name = _type_name(value)
            known, first = types.setdefault(key, (name, row_place.rpartition(", ")[2]))
            if known != name:
                message = f"'{key}' is {name}, but {known} in {first}. Expected values of one type"
                return DataError(Problem(row_place, message))
    return DataError(Problem(place, f"cannot be read. {' '.join(reason.split())}"))


def _check_lines_of_objects(content: bytes, place: str) -> None:
    """Raise DataError if a `.json` file holds one object: it may be a map, or tables inside of an object."""
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, RecursionError):
        return  # objects in lines, which are read as such
    if not isinstance(value, dict):
        raise DataError(Problem(place, f"holds {_type_name(value)}. Expected an array of objects"))
    keys = list(value)
    shown = ", ".join(map(repr, keys[:3])) + (", ..." if len(keys) > 3 else "")
    raise DataError(Problem(place, f"holds one object with the keys {shown}. Expected an array of objects"))


def _parse_array(array: bytes) -> pa.Table | None:
    """The objects of an array as a table, None if it holds anything else. Text that looks like a date stays text.

    Arrow parses objects alone, so the array is given to it as the value of a key. That is checked before and after:
    Arrow's parser ends the process at deep nesting.
    """
    if _is_deep(array):
        return None
    content = b'{"rows": %b}' % array
    reading = arrow_json.ReadOptions(block_size=len(content) + 64)
    parsing = arrow_json.ParseOptions(newlines_in_values=True)
    table = arrow_json.read_json(pa.BufferReader(content), reading, parsing)
    kind = table.schema.field(0).type
    if table.column_names != ["rows"] or table.num_rows != 1 or not pa.types.is_list(kind):
        return None
    if kind != (dated := _text_for_date(kind)):
        schema = pa.schema([pa.field("rows", dated)])
        parsing = arrow_json.ParseOptions(newlines_in_values=True, explicit_schema=schema)
        table = arrow_json.read_json(pa.BufferReader(content), reading, parsing)
    objects = table["rows"].combine_chunks().flatten()
    if not pa.types.is_struct(objects.type) or objects.null_count:
        return None
    return pa.Table.from_struct_array(objects)


def _is_deep(content: bytes) -> bool:
    """Whether values are nested more than a thousand times."""
    depth = 0
    view = np.frombuffer(content, np.uint8)
    for begin in range(0, len(view), _PIECE):
        depths = np.cumsum(_STEPS[view[begin : begin + _PIECE]], dtype=np.int32)
        if depth + int(depths.max()) > _DEEPEST:
            break
        depth += int(depths[-1])
    else:
        return False
    try:  # brackets inside of text may have been counted
        json.loads(content)
    except json.JSONDecodeError:
        return False
    except RecursionError:
        return True
    return False


def _text_for_date(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_text_for_date(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _text_for_date(field.type)) for field in kind])
    return kind


def _type_name(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null")
