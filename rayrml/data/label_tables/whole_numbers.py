"""Whether a column holds whole numbers, which may be the numbers of classes."""

from __future__ import annotations

import numpy as np

from rayrml.data.label_tables.column_values import encode
from rayrml.data.label_tables.table import LabelTable, pc


def holds_whole_numbers(table: LabelTable, column: str, rows: np.ndarray) -> bool:
    """Whether all values of a column in these rows are whole numbers, which may be missing."""
    words = encode(table, column).at(rows).words
    return len(words) > 0 and pc.all(pc.match_substring_regex(words, r"^[+-]?\d+$")).as_py()
