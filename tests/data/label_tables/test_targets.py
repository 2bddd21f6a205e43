import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.label_tables import Inputs, TargetOptions, make_targets, match_rows
from tests.data.label_tables.test_csv_reading import SAME_FIXTURE


def test_classes_are_numbered_in_natural_order(targets):
    result = targets(["10", "2", "10", "2"])
    assert (result.kind, result.names, result.values.tolist()) == ("class", ("2", "10"), [1, 0, 1, 0])
    assert result.values.dtype == np.int64
    assert targets(["c10", "C2", "c1", " c10 "]).names == ("c1", "C2", "c10")


def test_given_classes_keep_their_order(targets):
    result = targets(["cat", "dog"], class_names=["dog", "bird", "cat"])
    assert (result.names, result.values.tolist()) == (("dog", "bird", "cat"), [2, 0])


def test_classes_come_from_rows_for_training(targets, complaint):
    assert targets(["cat", "dog", "cat"], training=[1, 1, 0]).names == ("cat", "dog")
    assert complaint(targets, ["cat", "dog", "bird"], training=[1, 1, 0]) == (
        "labels.csv, line 4: column 'label' holds 'bird', which is none of the classes of the rows for training. "
        "Expected one of 'cat', 'dog'"
    )
    text = complaint(targets, ["cat;dog", "dog", "cat;bird"], training=[1, 1, 0])
    assert text.startswith(
        "labels.csv, line 4: column 'label' holds 'bird', which is none of the classes of the rows for training"
    )


def test_several_classes_in_a_value_are_a_row_of_flags(targets):
    result = targets(["cat;dog", "", "bird; dog", "dog;dog"])
    assert (result.kind, result.separator, result.names) == ("classes", ";", ("bird", "cat", "dog"))
    assert result.values.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 1], [0, 0, 1]]
    assert result.values.dtype == np.uint8


def test_columns_of_flags_are_classes_in_their_order(targets):
    result = targets([("yes", "0"), ("no", "TRUE"), ("1", "false")], ("dog", "cat"))
    assert (result.kind, result.names, result.values.tolist()) == ("classes", ("dog", "cat"), [[1, 0], [0, 1], [1, 0]])
    one = targets([("1", "0"), ("0", "1")], ("dog", "cat"), kind="class", class_names=["cat", "dog"])
    assert (one.names, one.values.tolist()) == (("cat", "dog"), [1, 0])


def test_numbers_are_32_bit_floats_unless_whole_numbers_would_be_rounded(targets):
    result = targets([("1.5", "-2"), (" 3 ", "1e-3")], ("x", "y"))
    assert (result.kind, result.names, result.values.dtype) == ("number", ("x", "y"), np.float32)
    assert np.array_equal(result.values, np.float32([[1.5, -2], [3, 1e-3]]))
    assert targets([("1", "16777217"), ("2", "5")], ("x", "y")).values.tolist() == [[1, 16777217], [2, 5]]


def test_numbers_that_32_bit_floats_cannot_tell_apart_are_refused(targets, complaint):
    assert complaint(targets, [f"{1e9 + n + 0.5:.1f}" for n in range(4)]) == (
        "labels.csv: column 'label' goes from 1000000000.5 to 1000000003.5: 32-bit floats tell apart 1 of its 4 "
        "different values. Subtract a constant such as 1000000000.5 from the column"
    )
    for fine in (["1000000.1", "1000002.9", "999997.2"], ["1e-7", "2e-7"], ["1700000000", "1800000001"], ["7", "7"]):
        assert targets(fine, kind="number").kind == "number"


def test_decimal_commas_are_understood_between_semicolons(targets):
    assert targets(["1,5", "2", "0,125"], delimiter=";").values.tolist() == [[1.5], [2], [0.125]]


COMMA = "Expected a decimal point; commas are decimal where semicolons separate the columns"
EMPTY = "column 'label' is empty. Expected"
WRONG = [
    ("number", ["1", "x"], "line 3: column 'label' holds 'x'. Expected a number"),
    ("number", ["1", ""], f"line 3: {EMPTY} a number, or no such row"),
    ("number", ["1", "nan"], f"line 3: {EMPTY} a number, or no such row"),
    ("number", ["1", " "], f"line 3: {EMPTY} a number, or no such row"),
    ("number", ["1", "-inf"], "line 3: column 'label' holds -inf. Expected a finite number up to 3.4e+38"),
    ("number", ["1", "1e39"], "line 3: column 'label' holds 1e39. Expected a finite number up to 3.4e+38"),
    ("number", ["1", '"1,5"'], f"line 3: column 'label' holds '1,5'. {COMMA}"),
    ("number", ["1", '"1,234"'], "line 3: column 'label' holds '1,234'. Expected a number without separators of "
     "thousands"),
    ("number", ["1", "1 234.5"], "line 3: column 'label' holds '1 234.5'. Expected a number without separators of "
     "thousands"),
    ("number", ["cat", "3.5"], "line 2: column 'label' holds 'cat'. Expected a number"),
    ("number", ["1", "5%"], "line 3: column 'label' holds '5%'. Expected a number"),
    ("class", ["cat", "dog", ""], f"line 4: {EMPTY} a value, or no such row"),
    ("class", ["cat", "Cat", "dog", "Cat"], "column 'label' has the classes 'cat' (1 rows) and 'Cat' (2 rows), which "
     "differ in upper and lower case. Expected one of them"),
    ("class", ["1", "01", "2"], "column 'label' has the classes '1' (1 rows) and '01' (1 rows), which differ in how "
     "the number is written. Expected one of them"),
    ("class", ["cat", "cat"], "column 'label' has one class alone, 'cat'. Expected at least two"),
    ("class", [f"c{i}" for i in range(24)], "column 'label' has 24 different values in 24 rows, such as 'c0', 'c1', "
     "'c2': every file has its own class. Expected a column of classes"),
    ("classes", ["", ""], "column 'label' has no class in 2 rows for training. Expected some"),
    ("classes", ["['cat', 'dog']".replace(", ", ";"), "dog"], "line 2: column 'label' holds a list in brackets, "
     "'['cat';'dog']'. Expected classes with a separator, such as cat;dog"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "text"), WRONG, ids=lambda value: str(value)[:30])
def test_a_value_that_is_no_target_is_told_with_its_row(targets, complaint, kind, values, text):
    place = "labels.csv, " if text.startswith("line") else "labels.csv: "
    assert complaint(targets, values, kind=kind) == place + text


def test_numbers_with_unclear_commas_are_told(targets, complaint):
    cure = "Expected decimal points in all numbers"
    assert complaint(targets, ["2.5", "1,5"], delimiter=";", kind="number") == (
        "labels.csv, line 3: column 'label' holds '1,5': some numbers of the column have a comma, others a point. "
        + cure
    )
    assert complaint(targets, ["2", "1,500"], delimiter=";", kind="number") == (
        f"labels.csv, line 3: column 'label' holds '1,500': its comma may separate thousands or decimals. {cure}"
    )
    assert complaint(targets, ["2", "1.234,5"], delimiter=";", kind="number") == (
        "labels.csv, line 3: column 'label' holds '1.234,5'. Expected a number without separators of thousands"
    )


def test_flags_that_are_none_are_told(targets, complaint):
    columns = ("p", "q")
    text = "labels.csv, line 3: column 'q' holds '2'. Expected 0 or 1"
    assert complaint(targets, [("1", "0"), ("0", "2")], columns, kind="classes") == text
    text = "labels.csv, line 3: column 'p' is empty. Expected a value, or no such row"
    assert complaint(targets, [("1", "0"), ("", "1")], columns) == text
    text = "labels.csv, line 3: 2 of the columns 'p', 'q' are 1. Expected one, as each file has one class"
    assert complaint(targets, [("1", "0"), ("1", "1")], columns, kind="class") == text
    text = "labels.csv: class names are 'p', 'r', but columns 'p', 'q'. Expected the same"
    assert complaint(targets, [("1", "0"), ("0", "1")], columns, class_names=["p", "r"]) == text


def test_class_names_that_do_not_fit_are_told(targets, complaint):
    assert complaint(targets, ["cat", "Dog"], class_names=["cat", "dog"]) == (
        "labels.csv, line 3: column 'label' holds 'Dog', which is none of the known classes. Did you mean 'dog'?"
    )
    assert complaint(targets, ["cat", "dog"], class_names=["cat", "cat"]) == (
        "labels.csv: class names hold 'cat' several times. Expected different names"
    )
    assert complaint(targets, ["0.5", "1"], class_names=["cat", "dog"]) == (
        "labels.csv: column 'label': numbers from 0.5 to 1, but class names are given. Expected classes, or no class "
        "names"
    )


LONG = "file,label\na,cat\nb,dog\na,dog\nd,bird\nb,dog\n"


def test_rows_of_one_file_list_its_classes_if_that_is_configured(read, complaint):
    table = read(LONG)
    matching = match_rows(table, Inputs("/images", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]))
    result = make_targets(table, matching, ["label"], TargetOptions("classes"))
    assert (result.names, result.values.tolist()) == (("bird", "cat", "dog"), [[0, 1, 1], [0, 0, 1], [1, 0, 0]])
    for kind in (None, "class"):
        assert complaint(make_targets, table, matching, ["label"], TargetOptions(kind)) == (
            "labels.csv, line 4: column 'label' of 'a' is 'dog', but 'cat' in line 2. Expected one row for each file; "
            "if several rows list its labels, set the kind 'classes'"
        )


@SAME_FIXTURE
@given(rows=st.lists(st.tuples(st.integers(0, 5), st.sets(st.sampled_from("pqrs"))), min_size=1, max_size=20))
def test_a_file_has_the_classes_of_all_its_rows(read, rows):
    table = read("file,label\n" + "".join(f"f{i},{';'.join(sorted(labels))}\n" for i, labels in rows))
    if not any(labels for _, labels in rows):
        return
    names = [f"f{i}.jpg" for i in range(6)]
    matching = match_rows(table, Inputs("/images", names), "file")
    result = make_targets(table, matching, ["label"], TargetOptions("classes", separator=";"))
    for index, values in zip(matching.files_with_row, result.values, strict=True):
        expected = set().union(*(labels for i, labels in rows if i == index))
        assert {name for name, value in zip(result.names, values, strict=True) if value} == expected


@SAME_FIXTURE
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_numbers_come_back_as_they_were_written(targets, values):
    result = targets([repr(value) for value in values], kind="number")
    assert np.array_equal(result.values[:, 0], np.array(values, np.float32))


def test_lists_of_json_are_classes(read):
    table = read('{"file":"a","y":["cat","dog"]}\n{"file":"b","y":[]}\n{"file":"c","y":["dog",null]}\n', "l.jsonl")
    result = make_targets(table, match_rows(table, Inputs("/i", ["a.png", "b.png", "c.png"])), ["y"])
    assert (result.names, result.values.tolist()) == (("cat", "dog"), [[1, 1], [0, 0], [0, 1]])
