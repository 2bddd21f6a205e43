"""Label tables from text with a delimiter: CSV and its relatives, with a header.

Quoting is held to RFC 4180: a quote begins or ends a field or is doubled inside one. Thus rows and line numbers are
certain, and Arrow's parser reads the same rows.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from rayrml import storage
from rayrml.data.label_tables.table import LabelTable, check_column_names, pc
from rayrml.data.label_tables.text_files import find_byte, line_of, read_text
from rayrml.errors import DataError, Problem

_MISSING = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL"]
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_BLOCK = 2**23  # bytes that are parsed at a time
_MOST_BYTES = 1_000_000  # of a field
_LONGEST = 2**28  # bytes of a row
_MOST_COLUMNS = 10_000
_SAMPLE = 2**16  # bytes from which the delimiter is found
_FILE = re.compile(r".\.(jpe?g|png|tiff?|bmp|gif|webp|heic|ppm|pgm|np[yz]|dcm|nii|nii\.gz|h5|hdf5|jp2)$", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
_QUOTES = 2**16  # quotes that are checked at a time, opening and closing ones
_UNCLOSED = (
    "the field that a quote begins here is not closed by a quote before the next delimiter. "
    'Remove the quote, or double it inside of a quoted field: ""'
)
_EXAMPLE = "Expected a line with the names of the columns first, such as: file,label"


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows of a text that are not empty: where each begins and ends, and whether quotes contain line ends."""

    starts: np.ndarray
    ends: np.ndarray
    has_quoted_line_ends: bool


def read_csv(path: str) -> LabelTable:
    """The table in a text file; all values are text, and missing ones null.

    Raises:
        DataError: a line is wrong; the message names it.
    """
    place = storage.split(path)[1]
    content = read_text(path)
    rows = _find_rows(content)
    if not len(rows.starts):
        raise DataError(Problem(place, f"is empty. {_EXAMPLE}"))
    delimiter = _find_delimiter(content, rows, place)
    _check_quotes(content, delimiter, place)
    names = _read_header(content, rows, delimiter, place)
    table = _parse(content, rows, names, (delimiter, place))
    _check_fields(table, rows, content, place)
    used = _filled_rows(table)
    lines = _lines_of_rows(content, rows, used)
    table = _without_index(
        table if used is None else table.filter(pa.array(used)), names, _place_of(content, rows, 0, place)
    )
    return LabelTable(
        path=path,
        columns=dict(zip(table.column_names, table.columns, strict=True)),
        num_rows=table.num_rows,
        first=2 + content.count(10, 0, int(rows.starts[0])),
        lines=lines,
        delimiter=delimiter,
    )


def _find_rows(content: bytes) -> _Rows:
    ends = find_byte(content, b"\n")
    quotes = find_byte(content, b'"')
    num_lines = len(ends)
    if len(quotes):  # a line end belongs to a field if an odd number of quotes precede it
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    has_quoted = len(ends) < num_lines
    limits = np.empty(len(ends) + 2, ends.dtype)  # line ends, and those that are thought of around the text
    limits[0], limits[1:-1], limits[-1] = -1, ends, len(content)
    starts, ends = limits[:-1] + 1, limits[1:]
    filled = ends > starts
    return _Rows(starts, ends, has_quoted) if filled.all() else _Rows(starts[filled], ends[filled], has_quoted)


def _find_delimiter(content: bytes, rows: _Rows, place: str) -> str:
    """The delimiter that divides the first rows into the same number of fields."""
    first = int(rows.starts[0])
    last = min(int(np.searchsorted(rows.ends, first + _SAMPLE)), 100)
    sample = content[first : max(int(rows.ends[max(last - 1, 0)]), first + 1)][:_SAMPLE].decode(errors="ignore")
    if sample.startswith("sep="):
        message = "'sep=' is understood by Excel alone. Remove this line"
        raise DataError(Problem(line_of(content, first, place), message))
    counts = {d: [len(row) for row in csv.reader(io.StringIO(sample), delimiter=d) if row] for d in _DELIMITERS}
    several = [d for d in _DELIMITERS if counts[d] and counts[d][0] > 1]
    even = [d for d in several if len(set(counts[d])) == 1]
    return max(even or several or [","], key=lambda d: counts[d][0] if counts[d] else 0)


def _check_quotes(content: bytes, delimiter: str, place: str) -> None:
    """Raise DataError for the first quote that is neither at an end of a field nor doubled."""
    quotes = find_byte(content, b'"')
    view = np.frombuffer(content, np.uint8)
    limits = np.zeros(256, bool)
    limits[[ord(delimiter), ord("\n"), ord('"')]] = True
    for begin in range(0, len(quotes), _QUOTES):
        opening, closing = quotes[begin : begin + _QUOTES : 2], quotes[begin + 1 : begin + _QUOTES : 2]
        opens_well = limits[view[opening - 1]] | (opening == 0)
        closes_well = limits[view[np.minimum(closing + 1, len(view) - 1)]] | (closing == len(view) - 1)
        stray = opening[~opens_well][:1]
        unclosed = opening[: len(closing)][~closes_well][:1]
        if len(stray) and not (len(unclosed) and unclosed[0] < stray[0]):
            message = (
                'a quote is inside of a field without quotes. Quote the whole field, and double the quote: "5"" x"'
            )
            raise DataError(Problem(line_of(content, int(stray[0]), place), message))
        if len(unclosed):
            raise DataError(Problem(line_of(content, int(unclosed[0]), place), _UNCLOSED))
    if len(quotes) % 2:
        raise DataError(Problem(line_of(content, int(quotes[-1]), place), _UNCLOSED))


def _read_header(content: bytes, rows: _Rows, delimiter: str, place: str) -> list[str]:
    """The names of the columns; "" for those without one."""
    place = line_of(content, int(rows.starts[0]), place)
    header = content[rows.starts[0] : rows.ends[0]]
    if len(header) > _MOST_BYTES:
        raise DataError(Problem(place, f"has more than {_MOST_BYTES:,} bytes. {_EXAMPLE}"))
    names = [name.strip() for name in _fields(header, delimiter)]
    if len(names) > _MOST_COLUMNS:
        raise DataError(Problem(place, f"has {len(names)} columns. Expected at most {_MOST_COLUMNS}"))
    numbered = names[1:] == [str(i) for i in range(1, len(names))]  # pandas' names for columns without one
    all_numbers = all(_NUMBER.fullmatch(name) for name in names) and not (numbered and names[0] == "0")
    if any(_FILE.search(name) for name in names) or all_numbers:
        shown = delimiter.join(names)[:60]
        raise DataError(Problem(place, f"looks like a row, not like a header: '{shown}'. {_EXAMPLE}"))
    if len(names) == 1 and re.search(r"[ |:]", names[0]):
        message = f"has one column, '{names[0][:60]}'. Expected columns separated by commas, semicolons or tabs"
        raise DataError(Problem(place, message))
    check_column_names([name for name in names if name], place)
    return names


def _parse(content: bytes, rows: _Rows, names: list[str], dialect: tuple[str, str]) -> pa.Table:
    """All rows but the header, as text, in columns with the numbers 0, 1, ... as names."""
    delimiter, place = dialect
    columns = [str(i) for i in range(len(names))]
    if len(rows.starts) == 1:
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    lengths = rows.ends - rows.starts
    longest = int(lengths.max())
    if longest > min(_MOST_BYTES * max(len(names), 8), _LONGEST):
        row = int(lengths.argmax())
        raise DataError(Problem(_place_of(content, rows, row, place), f"has {longest:,} bytes. {_too_long()}"))
    body = pa.py_buffer(content).slice(int(rows.starts[1]))
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            arrow_csv.ReadOptions(column_names=columns, block_size=max(_BLOCK, 2 * longest + 64)),
            arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=rows.has_quoted_line_ends),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), null_values=_MISSING, strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise _explained(content, rows, dialect, error) from None


def _explained(content: bytes, rows: _Rows, dialect: tuple[str, str], error: Exception) -> DataError:
    """The first row with another number of fields than the header."""
    delimiter, place = dialect
    expected = len(_fields(content[rows.starts[0] : rows.ends[0]], delimiter))
    for row, (start, end) in enumerate(zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)):
        text = content[start:end]
        if len(text) <= _MOST_BYTES and (count := len(_fields(text, delimiter))) != expected:
            cure = (
                f"Quote fields that contain a {_DELIMITERS[delimiter]}" if count > expected else "Add what is missing"
            )
            message = f"has {count} field{'s' if count > 1 else ''}, but the header has {expected}. {cure}"
            return DataError(Problem(_place_of(content, rows, row, place), message))
    return DataError(Problem(place, f"cannot be read. {str(error).splitlines()[0]}"))


def _check_fields(table: pa.Table, rows: _Rows, content: bytes, place: str) -> None:
    """Raise DataError if a field is too long for a name or a label."""
    if int((rows.ends - rows.starts).max()) <= _MOST_BYTES:
        return
    for column in table.columns:
        long = pc.greater(pc.binary_length(column), _MOST_BYTES)
        row = pc.index(long, True).as_py()
        if row >= 0:
            message = f"a field has more than {_MOST_BYTES:,} bytes. {_too_long()}"
            raise DataError(Problem(_place_of(content, rows, row + 1, place), message))


def _too_long() -> str:
    return "Expected names of files and labels; a quote may be missing"


def _filled_rows(table: pa.Table) -> np.ndarray | None:
    """Which rows hold any value, None if all do; spreadsheets write rows of delimiters alone."""
    empty = np.ones(table.num_rows, bool)
    for column in table.columns:
        if not column.null_count:
            return None
        empty &= pc.is_null(column).to_numpy()
    return ~empty if empty.any() else None


def _lines_of_rows(content: bytes, rows: _Rows, used: np.ndarray | None) -> np.ndarray | None:
    """The line of each row, None if they are consecutive."""
    first, last = int(rows.starts[0]), int(rows.starts[-1])
    if used is None and content.count(10, first, last) == len(rows.starts) - 1:
        return None
    lines = np.searchsorted(find_byte(content, b"\n"), rows.starts)  # the number of line ends before each row
    lines = lines[1:] + 1
    return lines if used is None else lines[used]


def _without_index(table: pa.Table, names: list[str], place: str) -> pa.Table:
    """The table with its names; without a nameless first column of row numbers, and without nameless empty columns."""
    used = []
    for i, name in enumerate(names):
        column = table[str(i)]
        is_numbers = i == 0 and name in ("", "Unnamed: 0") and pc.all(pc.utf8_is_decimal(column)).as_py() is not False
        if is_numbers or (not name and column.null_count == len(column)):
            continue
        if not name:
            values = ", ".join(f"'{v}'" for v in column[:3].to_pylist() if v is not None)
            message = f"column {i + 1} has no name, and holds {values}. Expected a name for each column"
            raise DataError(Problem(place, message))
        used.append(i)
    return pa.table([table[str(i)] for i in used], names=[names[i] for i in used])


def _place_of(content: bytes, rows: _Rows, row: int, place: str) -> str:
    return line_of(content, int(rows.starts[row]), place)


def _fields(row: bytes, delimiter: str) -> list[str]:
    """The fields of one row, whose quotes are valid and which may contain line ends."""
    if b'"' not in row:
        return row.decode().split(delimiter)
    found = re.finditer(rf'(?:\A|{delimiter})(?:"((?:[^"]|"")*)"|([^{delimiter}]*))', row.decode())
    return [match[2] if match[1] is None else match[1].replace('""', '"') for match in found]
