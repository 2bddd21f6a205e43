import pytest

from rayrml.data.label_tables import find_split_column, split_rows

EXPECTED = "Expected train, training, val, valid, validation, test, testing, eval"


def test_parts_have_many_names(read):
    values = ["train", "Training", " val", "VALID", "validation", "test", "testing ", "eval"]
    parts = split_rows(read("file,split\n" + "".join(f"f,{v}\n" for v in values)), "split")
    assert list(parts) == ["train", "validation", "test"]
    assert [mask.nonzero()[0].tolist() for mask in parts.values()] == [[0, 1], [2, 3, 4], [5, 6, 7]]


def test_parts_without_rows_are_left_out(read):
    assert list(split_rows(read("file,fold\na,test\nb,test\n"), "fold")) == ["test"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("a,train\nb,dev\n", f"line 3: column 'split' holds 'dev', which is no part of the data. {EXPECTED}"),
        ("a,3\nb,3\n", f"line 2: column 'split' holds '3' (so do 2 rows), which is no part of the data. {EXPECTED}"),
        ("a,train\nb,\n", f"line 3: column 'split' is empty. {EXPECTED}"),
    ],
)
def test_other_values_are_told_with_their_row(read, complaint, rows, text):
    assert complaint(split_rows, read("file,split\n" + rows), "split") == f"labels.csv, {text}"


def test_a_column_is_found_by_the_name_split_alone(read, complaint):
    assert find_split_column(read("file,Split\na,train\n")) == "Split"
    assert find_split_column(read("file,set\na,train\n")) is None
    assert complaint(split_rows, read("file,set\na,train\n"), "split").startswith("labels.csv: has no column 'split'")
