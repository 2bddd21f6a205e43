"""Tables without names of files: row i belongs to sample i, as in a table beside one array of all samples."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from rayrml.data.label_tables.column_values import encode
from rayrml.data.label_tables.matching import Matching
from rayrml.data.label_tables.numbers import as_numbers
from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.label_tables.table import LabelTable


def match_in_order(
    table: LabelTable, num_samples: int, array: str, *, others: Collection[str] = ()
) -> tuple[Matching, set[str]]:
    """The rows of samples in their order, and the columns that only number the rows.

    Args:
        table: the table.
        num_samples: how many samples there are.
        array: where they are, for messages.
        others: columns that are known to hold something else.

    Raises:
        DataError: there are more or fewer rows, or a column numbers the rows in another order.
    """
    if table.num_rows != num_samples:
        cure = "Expected a row for each sample, in their order"
        raise table.error(f"has {table.num_rows:,} rows, but '{array}' holds {num_samples:,} samples. {cure}")
    free = [column for column in table.columns if column not in others]
    alone = len(free) == 1 and not others
    numbering = set() if alone else {column for column in free if _numbers_rows(table, column)}
    nothing = np.empty(0, np.int64)
    return Matching("", np.arange(num_samples), nothing, nothing, nothing), numbering


def _numbers_rows(table: LabelTable, column: str) -> bool:
    """Whether a column holds 0, 1, 2, ... or 1, 2, 3, ...; raises DataError if it does in another order."""
    if is_list(table.columns[column].type) or table.num_rows < _FEWEST:
        return False
    encoded = encode(table, column)
    if len(encoded.words) != table.num_rows or (encoded.codes < 0).any():
        return False
    numbers = as_numbers(encoded.words, table.delimiter)
    if numbers is None:
        return False
    numbers, ordered = numbers[encoded.codes], np.sort(numbers)
    if ordered[0] not in (0, 1) or not np.array_equal(ordered, ordered[0] + np.arange(len(ordered))):
        return False
    if not np.array_equal(numbers, ordered):
        row = int(np.argmax(numbers != ordered))
        message = f"column '{column}' numbers the rows, but holds '{table.value(column, row)}' here"
        raise table.row_error(row, f"{message}. Expected the rows in the order of the samples")
    return True


_FEWEST = 3  # rows: two numbers may be anything
