"""Which rows of a label table are for training, for validation and for the test."""

from __future__ import annotations

import numpy as np

from rayrml.data.label_tables.column_values import encode
from rayrml.data.label_tables.table import LabelTable

SPLIT_COLUMN = "split"  # the column that is used without being named
_PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing", "eval"),
}
_PART_OF = {value: part for part, values in _PARTS.items() for value in values}


def find_split_column(table: LabelTable) -> str | None:
    """The column named `split` in any case, None if there is none."""
    return next((name for name in table.columns if name.casefold() == SPLIT_COLUMN), None)


def split_rows(table: LabelTable, column: str) -> dict[str, np.ndarray]:
    """(num_rows,) bool for each part that has rows, of "train", "validation" and "test" in this order.

    Raises:
        DataError: a row names no part, or another one; or there is no such column.
    """
    encoded = encode(table, column)
    expected = "Expected " + ", ".join(value for values in _PARTS.values() for value in values)
    if len(missing := np.flatnonzero(encoded.codes < 0)):
        raise table.row_error(int(missing[0]), f"column '{column}' is empty. {expected}")
    counts = encoded.counts()
    parts = list(_PARTS)
    numbers = np.empty(len(counts), np.int8)
    for code, word in enumerate(encoded.words):
        part = _PART_OF.get(word.as_py().casefold())
        if part is None:
            more = f" (so do {counts[code]} rows)" if counts[code] > 1 else ""
            message = f"column '{column}' holds '{word.as_py()[:60]}'{more}, which is no part of the data. {expected}"
            raise table.row_error(encoded.first_row(code), message)
        numbers[code] = parts.index(part)
    part_of_row = numbers[encoded.codes]
    return {part: mask for i, part in enumerate(parts) if (mask := part_of_row == i).any()}
