"""The values of a column as text: numbers as people write them, words without spaces around them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.label_tables.table import LabelTable, pc


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A column as numbers of its different values.

    Attributes:
        codes: (num_rows,) int32, the number of each row's value; -1 if it is missing.
        words: the different values, without spaces around them, in the order in which they occur.
    """

    codes: np.ndarray
    words: pa.Array

    def counts(self) -> np.ndarray:
        """How many rows have each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))

    def first_row(self, code: int) -> int:
        """The first row that has a value, or the first that has none for -1."""
        return int(np.argmax(self.codes == code))

    def at(self, rows: np.ndarray) -> Encoded:
        """Of these rows alone, with the values that they have."""
        codes = self.codes[rows]
        used = np.zeros(len(self.words), bool)
        used[codes[codes >= 0]] = True
        if used.all():
            return Encoded(codes, self.words)
        numbers = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(-1))  # of -1 at the end
        return Encoded(numbers[codes], self.words.filter(pa.array(used)))


def as_text(table: LabelTable, name: str, rows: np.ndarray | None = None) -> pa.ChunkedArray:
    """A column as text, or some of its rows; whole numbers that are stored as floats have no point, NaN is missing.

    Raises:
        DataError: the table has no such column, or it holds lists.
    """
    column = table.column(name)
    if rows is not None:
        column = column.take(pa.array(rows))
    kind = column.type
    if is_list(kind):
        raise table.error(f"column '{name}' holds lists. Expected one value in each row")
    if pa.types.is_string(kind):
        return column
    if pa.types.is_floating(kind):
        column = column.cast(pa.float32()) if pa.types.is_float16(kind) else column  # Arrow rounds no half floats
        column = pc.if_else(pc.is_nan(column), None, column)
        if pc.all(pc.equal(column, pc.trunc(column))).as_py() is not False:
            column = _as_integers(column)
    return column.cast(pa.string())


def encode(table: LabelTable, name: str) -> Encoded:
    """A column as numbers of its different values. Raises DataError as `as_text` does."""
    return encode_text(as_text(table, name))


def encode_text(column: pa.ChunkedArray | pa.Array) -> Encoded:
    """Text as numbers of its different values; spaces around words and empty words are dropped."""
    encoded = pc.dictionary_encode(column)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    words = pc.utf8_trim_whitespace(encoded.dictionary)
    again = pc.dictionary_encode(pc.replace_with_mask(words, pc.equal(words, ""), pa.scalar(None, words.type)))
    if len(again.dictionary) == len(words):
        return Encoded(codes, words)
    numbers = again.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Encoded(np.append(numbers, np.int32(-1))[codes], again.dictionary)


def _as_integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # infinite, or too large
        return column
