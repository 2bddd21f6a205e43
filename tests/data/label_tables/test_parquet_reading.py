import decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from rayrml.data.label_tables import Inputs, TargetOptions, make_targets, match_rows


@pytest.fixture
def written(read):
    def written(columns):
        sink = pa.BufferOutputStream()
        parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), sink)
        return read(sink.getvalue().to_pybytes(), "labels.parquet")

    return written


def test_rows_are_named_by_number_and_indices_and_images_are_passed_over(written):
    table = written({
        "file": ["a", "b"],
        "label": pa.array(["cat", "dog"]).dictionary_encode(),
        "image": [{"bytes": b"x"}, {"bytes": b"y"}],
        "__index_level_0__": [0, 1],
    })  # fmt: skip
    assert {name: column.to_pylist() for name, column in table.columns.items()} == {
        "file": ["a", "b"],
        "label": ["cat", "dog"],
    }
    assert table.skipped == ("image",)
    assert table.row_name(1) == "labels.parquet, row 2"


def test_an_index_of_names_is_a_column(written):
    assert list(written({"label": ["cat"], "__index_level_0__": ["a.jpg"]}).columns) == ["label", "__index_level_0__"]


def test_a_damaged_file_is_told(read, complaint):
    assert complaint(read, b"PAR1" + b"x" * 50, "labels.parquet").startswith("labels.parquet: cannot be read. ")
    assert complaint(read, b"", "labels.parquet").startswith("labels.parquet: cannot be read. ")
    assert complaint(read, b"PAR1", "labels.csv").startswith("labels.csv: is a Parquet file. ")


def test_names_of_columns_must_differ(written, complaint):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["file", "file"])
    assert complaint(written, twice) == "labels.parquet: several columns are named 'file'. Expected different names"


def test_a_table_without_rows_is_refused(written, complaint):
    assert complaint(written, {"file": pa.array([], pa.string())}).startswith("labels.parquet: has no rows")


COLUMNS = {
    "large": pa.array(["cat", "dog", "cat"], pa.large_string()),
    "flag": pa.array([False, True, False]),
    "small": pa.array([1, 2, 1], pa.uint8()),
    "whole": pa.array([1.0, 2.0, 1.0], pa.float32()),
    "half": pa.array(np.array([1, 2, 1], np.float16)),
    "coded": pa.array([7, 8, 7]).dictionary_encode(),
    "decimal": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.50"), decimal.Decimal("1.50")]),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_all_types_of_columns_can_be_classes(written, column):
    table = written({"file": pa.array(["a", "b", "c"], pa.large_string()), column: COLUMNS[column]})
    matching = match_rows(table, Inputs("/images", ["a.jpg", "b.jpg", "c.jpg"]), "file")
    assert make_targets(table, matching, [column], TargetOptions("class")).values.tolist() == [0, 1, 0]


@pytest.mark.parametrize("column", COLUMNS.keys() - {"large", "flag"})
def test_all_types_of_numbers_can_be_numbers(written, column):
    table = written({"file": ["a", "b", "c"], column: COLUMNS[column]})
    matching = match_rows(table, Inputs("/images", ["a.jpg", "b.jpg", "c.jpg"]), "file")
    values = make_targets(table, matching, [column], TargetOptions("number")).values
    assert values[:, 0].tolist() == [float(value.as_py()) for value in COLUMNS[column]]


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (pa.array([1.0, float("nan"), 2.0]), "number", "row 2: column 'y' holds nan. Expected a finite number up to "),
        (pa.array([1.0, None, 2.0]), "number", "row 2: column 'y' is empty. Expected a number, or no such row"),
        (pa.array([True, False, True]), "number", "row 1: column 'y' holds 'true'. Expected a number"),
        (pa.nulls(3), "class", "row 1: column 'y' is empty. Expected a value, or no such row"),
        (pa.nulls(3), "number", "row 1: column 'y' is empty. Expected a number, or no such row"),
    ],
)
def test_values_that_are_no_targets_are_told_with_their_row(written, complaint, values, kind, text):
    table = written({"file": ["a", "b", "c"], "y": values})
    matching = match_rows(table, Inputs("/images", ["a.jpg", "b.jpg", "c.jpg"]))
    text = f"labels.parquet, {text}"
    assert complaint(make_targets, table, matching, ["y"], TargetOptions(kind)).startswith(text)
