"""Which row of a label table belongs to which file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rayrml.data.discovery import quote_some
from rayrml.data.label_tables.column_values import as_text, encode
from rayrml.data.label_tables.file_names import NOWHERE, OUTSIDE, SEVERAL, FileNames, Way, clean, find_ways
from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.label_tables.table import LabelTable, pc
from rayrml.errors import DataError

_PROBED = 1000  # rows that are looked at to find the column of files
_USUAL = ("file", "filename", "file_name", "image", "image_id", "img", "id", "name", "path", "sample")
_MOST_CHECKED = 2000  # files without a row
_NO_KIND = "Expected one row for each file; if several rows list its labels, set the kind 'classes'"


@dataclasses.dataclass(frozen=True)
class Matching:
    """Rows and files that belong together.

    Attributes:
        file_column: the column that names the files.
        rows: (num_files,) int64, the first row of each file; -1 if it has none.
        unmatched_rows: int64, the rows that name no file, ascending.
        repeated_rows: int64, further rows of files that have a row before, ascending.
        repeated_files: int64, the files of the repeated rows.
    """

    file_column: str
    rows: np.ndarray
    unmatched_rows: np.ndarray
    repeated_rows: np.ndarray
    repeated_files: np.ndarray

    @property
    def files_with_row(self) -> np.ndarray:
        """The indices of all files that have a row, int64."""
        return np.flatnonzero(self.rows >= 0)

    @property
    def files_without_row(self) -> np.ndarray:
        """The indices of all files that have no row, int64."""
        return np.flatnonzero(self.rows < 0)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The files that a table labels.

    Attributes:
        path: their folder, or its URI.
        names: their names relative to it, with `/`.
    """

    path: str
    names: Sequence[str]


def choose_file_column(table: LabelTable, inputs: Inputs) -> str:
    """The first column whose values name files, in at least half of its rows that are looked at.

    Without one, it is the column that names at least half of the files: a table may have rows for many others.

    Raises:
        DataError: there is none, or several that name different files.
    """
    return _choose(table, inputs, FileNames.of(inputs.names))[0]


def match_rows(
    table: LabelTable, inputs: Inputs, file_column: str | None = None, *, same: Sequence[str] = ()
) -> Matching:
    """The row of each file.

    A row names its file relative to the folder of the inputs, with or without its ending; or relative to the table's
    folder or the parent of the inputs, by an absolute path, or by its name without folders. All rows do it in one way.

    Args:
        table: the table.
        inputs: the files.
        file_column: the column that names them, None to find it.
        same: columns that must be equal in all rows of one file: its labels, unless several rows of one file list its
            classes, and its split.

    Raises:
        DataError: a row names no file or lies outside of the folder, could mean several files, differs from a file's
            name in case, or contradicts another row of the same file; or no row names a file.
    """
    names = FileNames.of(inputs.names)
    if file_column is None:
        file_column, way = _choose(table, inputs, names)
    else:
        way = _best_way(table, inputs, names, file_column)
    values = clean(_flat(as_text(table, file_column)))
    missing = pc.index(pc.or_kleene(pc.is_null(values), pc.equal(values, "")), True).as_py()
    if missing >= 0:
        raise table.row_error(missing, f"column '{file_column}' names no file. Expected a name, or no such row")
    files = way.find(names, values)
    if (files == SEVERAL).any():
        row = int(np.argmax(files == SEVERAL))
        raise _ambiguous(table, row, values[row].as_py(), inputs)
    unmatched = np.flatnonzero(files == NOWHERE)
    if len(unmatched) == len(files):
        examples = f"{quote_some(values[:3].to_pylist())}; files: {quote_some(inputs.names[:3])}"
        hint = ". They differ in upper and lower case" if _find_folded(names, values, way)[1].any() else ""
        raise table.error(f"no row names a file of '{inputs.path}'. Column '{file_column}': {examples}{hint}")
    if len(unmatched):
        _check_unmatched(table, inputs, names, (way, unmatched, values.take(pa.array(unmatched))))
    del values, names
    matched = np.flatnonzero(files >= 0)
    rows = np.full(len(inputs.names), -1, np.int64)
    rows[files[matched[::-1]]] = matched[::-1]  # the first row is written last
    repeated = matched[rows[files[matched]] != matched]
    matching = Matching(file_column, rows, unmatched, repeated, files[repeated])
    _check_header(table, inputs, matching)
    check_repeated(table, matching, same)
    return matching


def check_repeated(table: LabelTable, matching: Matching, columns: Sequence[str]) -> None:
    """Raise DataError if two rows of one file differ in one of these columns."""
    if not len(matching.repeated_rows):
        return
    first_rows = matching.rows[matching.repeated_files]
    for column in columns:
        codes = encode(table, column).codes
        differ = codes[matching.repeated_rows] != codes[first_rows]
        if differ.any():
            at = int(np.argmax(differ))
            row, first = int(matching.repeated_rows[at]), int(first_rows[at])
            held, before = table.value(column, row), table.value(column, first)
            file = table.value(matching.file_column, row)
            message = f"column '{column}' of '{file}' is '{held}', but '{before}' in {table.short_row_name(first)}"
            raise table.row_error(row, f"{message}. {_NO_KIND}")


class _Probe(NamedTuple):
    """What a column names in some rows.

    Attributes:
        values: the values.
        files: int64, the file of each, by the best way.
        way: that way.
    """

    values: pa.Array
    files: np.ndarray
    way: Way


def _choose(table: LabelTable, inputs: Inputs, names: FileNames) -> tuple[str, Way]:
    """The column that names files, and how."""
    columns = [name for name in table.columns if not is_list(table.columns[name].type)]
    values, near = _some_values(table, names, columns)
    ways = _ways(table, inputs, names)
    for folded in (False, True):  # names that differ in case alone are refused later, with a hint
        near = near.folded() if folded else near
        values = {c: pc.utf8_lower(v) for c, v in values.items()} if folded else values
        probes = {c: _probe(v, near, ways) for c, v in values.items()}
        enough = {c: probe for c, probe in probes.items() if 2 * _num_found(probe.files) >= len(probe.files)}
        likely = _likeliest(inputs, enough)
        for column, probe in likely.items():
            first = next(iter(likely))
            if not np.array_equal(probe.files, likely[first].files):
                message = f"columns '{first}' and '{column}' both name files, but not the same"
                raise table.error(f"{message}. Expected file_column to be one of them")
        if likely:
            column, probe = next(iter(likely.items()))
            return column, probe.way
    large = _choose_by_files(table, inputs, names, columns)
    if large is not None:
        return large
    examples = ", ".join(f"'{c}' (such as '{table.value(c, 0)}')" for c in columns[:10])
    files = quote_some(inputs.names[:3])
    message = f"no column names the files of '{inputs.path}'. Columns: {examples}; files: {files}"
    raise table.error(f"{message}. Expected a column with their names")


def _choose_by_files(
    table: LabelTable, inputs: Inputs, names: FileNames, columns: Sequence[str]
) -> tuple[str, Way] | None:
    """The column that names at least half of the files, and how; None unless there is one alone."""
    if table.num_rows <= len(inputs.names):
        return None
    found: list[tuple[str, Way]] = []
    for column in columns:
        values = clean(_flat(as_text(table, column))).cast(pa.string())
        files, way = _probe(values, names.near(values), _ways(table, inputs, names))[1:]
        num_files = len(np.unique(files[files >= 0]))
        if 2 * num_files >= len(inputs.names) and _num_found(files) <= 2 * num_files:  # labels name few files often
            found.append((column, way))
    return found[0] if len(found) == 1 else None


def _best_way(table: LabelTable, inputs: Inputs, names: FileNames, column: str) -> Way:
    """The way in which a column names files, by some rows; by all rows if these name none."""
    values, near = _some_values(table, names, [column])
    ways = _ways(table, inputs, names)
    probe = _probe(values[column], near, ways)
    if _num_found(probe.files) or len(probe.files) == table.num_rows:
        return probe.way
    every = clean(_flat(as_text(table, column)))
    return _probe(every, names.near(every), ways).way


def _some_values(table: LabelTable, names: FileNames, columns: Sequence[str]) -> tuple[dict[str, pa.Array], FileNames]:
    """The values of columns in rows that are evenly spread, and the files that they may name."""
    rows = np.unique(np.linspace(0, table.num_rows - 1, min(_PROBED, table.num_rows)).astype(np.int64))
    values = {column: clean(_flat(as_text(table, column, rows))).cast(pa.string()) for column in columns}
    return values, names.near(pa.concat_arrays([*values.values(), pa.array([], pa.string())]))


def _probe(values: pa.Array, names: FileNames, ways: Sequence[Way]) -> _Probe:
    best = _Probe(values, np.full(len(values), NOWHERE), ways[0])
    for way in ways:
        files = way.find(names, values)
        if _num_found(files) > _num_found(best.files):
            best = _Probe(values, files, way)
        if _num_found(files) == len(files):
            break
    return best


def _likeliest(inputs: Inputs, probes: dict[str, _Probe]) -> dict[str, _Probe]:
    """Without columns of few numbers that are names of files too, and only whole names if there are any."""
    distinct = {column: len(np.unique(probe.files[probe.files >= 0])) for column, probe in probes.items()}
    likely = {column: probe for column, probe in probes.items() if 2 * distinct[column] >= max(distinct.values())}
    whole = {column: probe for column, probe in likely.items() if len(likely) > 1 and _is_whole(inputs, probe)}
    return whole or likely


def _is_whole(inputs: Inputs, probe: _Probe) -> bool:
    """Whether most values have the endings of their files."""
    values, files = probe.values.to_pylist(), probe.files
    named = [(value, str(inputs.names[file])) for value, file in zip(values, files, strict=True) if file >= 0]
    last = [[path.rpartition("/")[2].casefold() for path in pair] for pair in named]
    return 2 * sum(value == file for value, file in last) > len(last)


def _find_folded(names: FileNames, values: pa.Array, way: Way) -> tuple[np.ndarray, np.ndarray]:
    """The file of each value if upper and lower case are the same, and which values have one."""
    folded = dataclasses.replace(way, cut=way.cut.lower(), added=way.added.lower())
    files = folded.find(names.folded(), pc.utf8_lower(values))
    return files, files != NOWHERE


def _check_unmatched(
    table: LabelTable, inputs: Inputs, names: FileNames, found: tuple[Way, np.ndarray, pa.Array]
) -> None:
    """Raise DataError if a row that names no file lies outside of the folder, or names one in another case."""
    way, rows, values = found
    folded, is_file = _find_folded(names, values, way)
    if is_file.any():
        at = int(np.argmax(is_file))
        file = inputs.names[folded[at]] if folded[at] >= 0 else "several files"
        more = f" (so do {n} rows)" if (n := int(is_file.sum())) > 1 else ""
        message = f"'{values[at].as_py()}' differs from the file '{file}' in upper and lower case{more}"
        raise table.row_error(int(rows[at]), f"{message}. Expected the names of the files")
    outside = pc.match_substring_regex(values, OUTSIDE)
    if way.cut:
        outside = pc.and_not(outside, pc.starts_with(values, way.cut))
    at = pc.index(outside, True).as_py()
    if at >= 0:
        message = f"'{values[at].as_py()}' is outside of '{inputs.path}'. Expected files below that folder"
        raise table.row_error(int(rows[at]), message)


def _check_header(table: LabelTable, inputs: Inputs, matching: Matching) -> None:
    """Raise DataError if the name of the column is the name of a file that has no row: the first row was a header."""
    name = matching.file_column
    if table.delimiter is None or name.casefold() in _USUAL:
        return
    for file in matching.files_without_row[:_MOST_CHECKED].tolist():
        last = str(inputs.names[file]).rpartition("/")[2]
        if name in (inputs.names[file], last, last.rpartition(".")[0]):
            message = f"'{name}' is the name of a file, not of a column. Expected a header first, such as: file,label"
            raise table.error(message)


def _ambiguous(table: LabelTable, row: int, value: str, inputs: Inputs) -> DataError:
    last = value.rpartition("/")[2]
    meant = [name for name in inputs.names if name.rpartition("/")[2] == last]
    if len(meant) < 2:
        meant = [name for name in inputs.names if name.rpartition("/")[2].startswith(f"{last}.")]
    return table.row_error(row, f"'{value}' may be {quote_some(meant, 3)}. Expected the whole name, with its ending")


def _ways(table: LabelTable, inputs: Inputs, names: FileNames) -> list[Way]:
    return find_ways(inputs.path, table.path, with_folders=names.have_folders())


def _num_found(files: np.ndarray) -> int:
    """How many values name a file, or several."""
    return int((files != NOWHERE).sum())


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()
