"""A table of labels as it was read, and how its rows are named in messages."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from rayrml import storage
from rayrml.data.discovery import quote_some
from rayrml.errors import DataError, Problem

pc: Any = compute  # its functions are made when it is imported, so that type checkers do not know them


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """A table of labels, in memory.

    Attributes:
        path: path or URI of its file.
        columns: the columns, in their order in the file. Those of a text file hold text.
        num_rows: number of rows, without the header.
        unit: what a row is in the file: "line" or "row".
        first: the number in the file of row 0.
        lines: (num_rows,) the line of each row if rows and lines do not run in parallel, else None.
        delimiter: what separates the columns of a text file, None for other files.
        skipped: columns that cannot hold labels or file names, because of their type.
    """

    path: str
    columns: Mapping[str, pa.ChunkedArray]
    num_rows: int
    unit: str = "line"
    first: int = 2
    lines: np.ndarray | None = None
    delimiter: str | None = None
    skipped: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return storage.split(self.path)[1]

    def row_name(self, row: int) -> str:
        """The place of a row for messages: `labels.csv, line 7`."""
        number = self.first + int(row) if self.lines is None else int(self.lines[row])
        return f"{self.file_name}, {self.unit} {number}"

    def short_row_name(self, row: int) -> str:
        """The place of a row in a message that already names the file: `line 7`."""
        return self.row_name(row).rpartition(", ")[2]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column. Raises DataError if there is none of this name."""
        if name in self.columns:
            return self.columns[name]
        if name in self.skipped:
            raise self.error(f"column '{name}' holds neither text nor numbers. Expected another column")
        near = difflib.get_close_matches(name, self.columns, n=1)
        cure = f"Did you mean '{near[0]}'?" if near else f"Expected one of {quote_some(self.columns)}"
        raise self.error(f"has no column '{name}'. {cure}")

    def value(self, column: str, row: int) -> str:
        """A value as text for messages, shortened if it is long."""
        text = str(self.columns[column][int(row)].as_py())
        return text if len(text) <= 60 else f"{text[:57]}..."

    def error(self, message: str) -> DataError:
        """An error that concerns the whole table."""
        return DataError(Problem(self.file_name, message))

    def row_error(self, row: int, message: str) -> DataError:
        """An error in one row."""
        return DataError(Problem(self.row_name(row), message))


def check_column_names(names: Sequence[str], place: str) -> None:
    """Raise DataError if a name is empty or occurs twice; `place` is the file, and its line if it has any."""
    if "" in names:
        raise DataError(Problem(place, f"column {names.index('') + 1} has no name. Expected a name for each column"))
    twice = _repeated(names)
    if twice:
        raise DataError(Problem(place, f"several columns are named {quote_some(twice)}. Expected different names"))


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))
