"""Numbers that are far from all others."""

import numpy as np
import pyarrow as pa
import pytest

from rayrml.data.label_tables import LabelTable, describe_outliers


def told(values):
    table = LabelTable("labels.csv", {"age": pa.chunked_array([[str(value) for value in values]])}, len(values))
    return list(describe_outliers(table, ["age"], np.array(values, float)[:, None], np.arange(len(values))))


def test_what_stands_for_a_missing_value_is_told_with_its_line():
    assert told([31, 45, 58, -999, 40, 37, 62, -999, 50, 33]) == [
        "column 'age': 2 values are far from the others, which go from 31 to 62: -999 in line 5. "
        "Leave out rows whose value is missing"
    ]


@pytest.mark.parametrize(
    "values", [range(20), [1.0, 1.0, 1.0, 5.0], np.random.default_rng(0).lognormal(0, 1, 1000), [-1, 1000] * 10]
)
def test_numbers_that_merely_vary_are_not(values):
    assert not told(list(values))
