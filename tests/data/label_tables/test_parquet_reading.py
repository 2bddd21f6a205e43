import pyarrow as pa
import pytest
from pyarrow import parquet


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
