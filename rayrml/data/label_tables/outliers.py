"""Numbers that are far from all others, as those that stand for missing values: -999 among ages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rayrml.data.label_tables.table import LabelTable

_FAR = 20.0  # times the range of the middle half of all values
_MOST = 0.25  # of the values: more of them are no outliers


def describe_outliers(table: LabelTable, columns: Sequence[str], values: np.ndarray, rows: np.ndarray) -> Iterator[str]:
    """A sentence for each column with numbers that are far from most others.

    Args:
        table: the table.
        columns: K columns of numbers.
        values: (N, K) the numbers.
        rows: (N,) the row of each.
    """
    for column, numbers in zip(columns, values.T, strict=True):
        low, high = np.percentile(numbers, [25, 75])
        reach = _FAR * (high - low)
        far = np.flatnonzero((numbers < low - reach) | (numbers > high + reach))
        if not reach or not len(far) or len(far) > _MOST * len(numbers):
            continue
        others = np.delete(numbers, far)
        count = "1 value is" if len(far) == 1 else f"{len(far):,} values are"
        example = f"{numbers[far[0]]:.6g} in {table.short_row_name(int(rows[far[0]]))}"
        between = f"the others, which go from {others.min():.6g} to {others.max():.6g}"
        yield f"column '{column}': {count} far from {between}: {example}. Leave out rows whose value is missing"
