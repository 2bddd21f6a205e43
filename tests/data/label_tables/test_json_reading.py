import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.label_tables.test_csv_reading import SAME_FIXTURE

SHAPES = 'Expected one object for each file, such as {"file": "a.jpg", "label": "cat"}'
WRONG_LINES = {
    '{"f":"a","l":1}\n\n{"f":"b","l":"x"}\n': "line 3: 'l' is text, but a number in line 1. Expected values of one "
    "type",
    '{"f":"a"}\n{"f":\n': "line 2: is not one JSON object. Expecting value",
    '{"f":"a"}\n[1]\n': f"line 2: is not an object but a list. {SHAPES}",
    '{"f":"a"}\n\nnull\n': f"line 3: is not an object but null. {SHAPES}",
    "null": f"line 1: is not an object but null. {SHAPES}",
    '{"f":"a"}{"f":"b"}\n': "line 1: is not one JSON object. Extra data",
    '{"f":"a"}\n{"f":"b"},{"f":"c"}\n': "line 2: is not one JSON object. Extra data",
    '{"f":"a"}],"more":[{"f":"b"}\n': "line 1: is not one JSON object. Extra data",
    '{"f":' + "[" * 100_000 + "]" * 100_000 + "}\n": "line 1: is not one JSON object. It is nested too deeply",
}
WRONG_ARRAYS = {
    '[{"f":"a"},\n {"f":"b",}]': "labels.json, line 2: is not valid JSON. ",
    '[{"f":1},{"f":"a"}]': "labels.json, row 2: 'f' is text, but a number in row 1. Expected values of one type",
    '[{"f":"a"},null]': f"labels.json, row 2: is not an object but null. {SHAPES}",
    "[1,2]": f"labels.json, row 1: is not an object but a number. {SHAPES}",
    '{"a.jpg":"cat"}': "labels.json: holds one object with the keys 'a.jpg'. Expected an array of objects",
    "5": "labels.json: holds a number. Expected an array of objects",
    "[" * 100_000 + "]" * 100_000: f"labels.json: is nested too deeply. {SHAPES}",
    '[{"f":"a"}],"rows":[1]': "labels.json, line 1: is not valid JSON. Extra data",
    "": f"labels.json: is empty. {SHAPES}",
}


@pytest.mark.parametrize("content", WRONG_LINES, ids=lambda content: repr(content[:30]))
def test_a_mistake_in_lines_is_told_with_its_line(read, complaint, content):
    assert complaint(read, content, "labels.jsonl") == f"labels.jsonl, {WRONG_LINES[content]}"


@pytest.mark.parametrize("content", WRONG_ARRAYS, ids=lambda content: repr(content[:30]))
def test_a_mistake_in_an_array_is_told_with_its_row(read, complaint, content):
    assert complaint(read, content, "labels.json").startswith(WRONG_ARRAYS[content])


@SAME_FIXTURE
@given(
    rows=st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-9, 9)), min_size=1),
    blank=st.integers(0, 2),
)
def test_lines_and_arrays_hold_what_was_written(read, rows, blank):
    objects = [{"file": file, "label": label} for file, label in rows]
    for ascii_only in (True, False):
        lines = ("\n" * (blank + 1)).join(json.dumps(o, ensure_ascii=ascii_only) for o in objects)
        table = read(lines, "labels.jsonl")
        assert table.columns["file"].to_pylist() == [file for file, _ in rows]
        assert table.columns["label"].to_pylist() == [label for _, label in rows]
        last = len(rows) - 1
        assert table.row_name(last) == f"labels.jsonl, line {last * (blank + 1) + 1}"
    table = read(json.dumps(objects, indent=1), "labels.json")
    assert table.columns["file"].to_pylist() == [file for file, _ in rows]
    assert table.row_name(last) == f"labels.json, row {last + 1}"


def test_dates_stay_text_and_missing_keys_are_null(read):
    table = read('{"file":"a","day":"2020-01-01"}\n{"file":"b","n":1}\n', "labels.jsonl")
    assert table.columns["day"].to_pylist() == ["2020-01-01", None]
    assert table.columns["n"].to_pylist() == [None, 1]


def test_objects_in_objects_cannot_be_labels(read, complaint):
    table = read('{"file":"a","box":{"x":1}}\n', "labels.jsonl")
    assert table.skipped == ("box",)
    assert complaint(table.column, "box").startswith("labels.jsonl: column 'box' holds neither text nor numbers")


def test_pieces_of_a_long_file_are_one_table(read):
    text = "".join(json.dumps({"file": f"f{i}", "tags": [] if i < 5 else ["x" * 4000]}) + "\n" for i in range(5000))
    table = read(text, "labels.jsonl")
    assert table.num_rows == 5000
    assert table.columns["file"][4999].as_py() == "f4999"
