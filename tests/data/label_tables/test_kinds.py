import numpy as np
import pytest

from rayrml.data.label_tables import choose_target_columns, detect_kind


def decide(read, columns, *values):
    table = read(";".join(["file", *columns]) + "\n" + "".join(f"f;{v}\n" for v in values))
    return detect_kind(table, columns, np.arange(table.num_rows))


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (["cat", "dog", "cat"], "class", "column 'y': 2 classes, cat, dog"),
        (
            ["1", "10", "2"] * 2,
            "class",
            "column 'y': 3 classes, because whole numbers that repeat are classes: 1, 2, 10",
        ),
        (["1", "93", "2", "2"], "number", "column 'y': numbers from 1 to 93"),
        ([str(i) for i in range(21)] * 2, "number", "column 'y': numbers from 0 to 20"),
        (["1.0", "2.0"] * 2, "number", "column 'y': numbers from 1 to 2"),
        (["1,5", "-2", "3,25"], "number", "column 'y': numbers from -2 to 3.25"),
        (["007", "012"] * 2, "class", "because numbers with leading zeros are names"),
        (["red car", "blue car", "red bus"], "class", "column 'y': 3 classes"),
        (["cat|dog", "cat", "bird"], "classes", "because '|' separates names that repeat, such as 'cat|dog'"),
        (["cat,dog", "cat", "dog,bird"], "classes", "because ',' separates names that repeat"),
        (["Doe, John", "Roe, Jane", "Poe"], "class", "3 classes"),
        (["clear road", "clear", "road", "clear road water", "water"], "classes", "because a space separates names"),
        (["true", "false"], "class", "2 classes, false, true"),
    ],
)
def test_a_column_tells_what_it_holds(read, values, kind, reason):
    decision = decide(read, ["y"], *values)
    assert decision.kind == kind
    assert reason in decision.reason


def test_several_columns_are_classes_if_all_are_flags_else_numbers(read):
    flags = decide(read, ["p", "q"], "0;1", "1;1")
    assert (flags.kind, flags.reason) == ("classes", "columns 'p', 'q': classes, because all hold 0 and 1 alone")
    assert decide(read, ["p", "q"], "0;1", "1;0").reason.endswith(
        "one of them in each row: kind 'class' is possible too"
    )
    assert decide(read, ["p", "q"], "0;1", "1;2").kind == "number"


def test_values_that_decide_nothing_are_told_with_their_row(read, complaint):
    assert complaint(decide, read, ["y"], "1", "2", "x", "3") == (
        "labels.csv, line 4: column 'y' holds 'x', but numbers in most other rows. Expected numbers alone, or the kind "
        "'class'"
    )
    assert complaint(decide, read, ["y"], "1", "2,5", "2.5") == (
        "labels.csv, line 3: column 'y' holds '2,5': some numbers of the column have a comma, others a point. "
        "Expected decimal points"
    )
    assert complaint(decide, read, ["y"], "1,234", "2") == (
        "labels.csv, line 2: column 'y' holds '1,234': its comma may separate thousands or decimals. "
        "Expected decimal points"
    )
    assert complaint(decide, read, ["p", "q"], "1;2", "cat;3") == (
        "labels.csv, line 3: column 'p' holds 'cat', which is not a number. Expected numbers in several target "
        "columns, or one column"
    )
    assert complaint(decide, read, ["y"], "", "") == (
        "labels.csv: column 'y' is empty in all rows that label files. Expected targets"
    )
    assert complaint(decide, read, ["p", "q"], "1;", "0;") == (
        "labels.csv: column 'q' is empty in all rows that label files. Expected targets"
    )


def test_lists_are_classes_unless_they_are_of_numbers(read, complaint):
    table = read('{"y":["cat"],"box":[1,2]}\n{"y":[],"box":[3]}\n', "labels.jsonl")
    rows = np.arange(2)
    assert detect_kind(table, ["y"], rows).kind == "classes"
    assert complaint(detect_kind, table, ["box"], rows).startswith(
        "labels.jsonl: column 'box' holds lists of numbers. "
    )
    assert detect_kind(table, ["box"], rows, "classes").kind == "classes"


def test_the_target_is_the_only_column_or_all_flags(read, complaint):
    assert choose_target_columns(read("file,y\na,1\n"), ["file"]) == ["y"]
    assert choose_target_columns(read("file,p,q\na,1,0\n"), ["file"]) == ["p", "q"]
    assert complaint(choose_target_columns, read("file,p,q\na,1,2\n"), ["file"]) == (
        "labels.csv: has several columns that may be targets: 'p', 'q'. Expected target_column "
        "(`rayrml new --columns`) to be some of them"
    )
    assert complaint(choose_target_columns, read("file\na\n"), ["file"]) == (
        "labels.csv: has no column besides those of files and splits. Expected a column of targets"
    )


def test_one_value_with_a_separator_does_not_make_all_of_them_lists(read, complaint):
    assert complaint(decide, read, ["y"], *["cat", "dog"] * 100, "cat|") == (
        "labels.csv, line 202: column 'y' holds 'cat|', but one class in nearly all other rows. Expected one class, or "
        "the kind to be configured"
    )
    table = read("file,y\n" + "f,cat\n" * 200 + "f,cat|dog\n")
    decision = detect_kind(table, ["y"], np.arange(201), "classes")
    assert (decision.separator, decision.reason) == ("|", "column 'y': classes, as configured, with '|' between them")
