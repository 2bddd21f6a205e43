"""What the stages cost for each row: no step of Python, and few bytes."""

import json
import sys
import tracemalloc

import pyarrow as pa
import pytest
from pyarrow import parquet

from rayrml.data.label_tables import Inputs, TargetOptions, make_targets, match_rows, read_label_table, split_rows

COUNTS = (20_000, 60_000)
MOST_BYTES = 200  # of each row
KINDS = {"label": "class", "tags": "classes", "x": "number"}


def content(ending, count):
    """A table of `count` files, and their names."""
    names = [f"part_{i % 100:02}/img_{i:07}.jpg" for i in range(count)]
    columns = {
        "file": names[::-1],
        "label": [f"class{i % 37}" for i in range(count)],
        "tags": [f"a{i % 7};b{i % 5}" for i in range(count)],
        "x": [i * 0.5 for i in range(count)],
        "split": [("train", "test")[i % 2] for i in range(count)],
    }
    rows = zip(*columns.values(), strict=True)
    if ending == "parquet":
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns), sink)
        return sink.getvalue().to_pybytes(), names
    if ending == "jsonl":
        return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), names
    quoted = ending == "quoted.csv"
    text = "".join(",".join(f'"{v}"' if quoted and isinstance(v, str) else f"{v}" for v in row) + "\n" for row in rows)
    return ",".join(columns) + "\n" + text, names


def stages(tmp_path, ending, count):
    """Each stage as a function, which is run after the ones before it."""
    data, names = content(ending, count)
    path = tmp_path / f"labels.{ending}"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    state = {}

    def reading():
        state["table"] = read_label_table(str(path), "labels")

    def matching():
        state["matching"] = match_rows(state["table"], Inputs("/images", names))

    yield "reading", reading
    yield "matching", matching
    yield "split", lambda: split_rows(state["table"], "split")
    for column, kind in KINDS.items():
        options = TargetOptions(kind)
        yield column, lambda c=column, o=options: make_targets(state["table"], state["matching"], [c], o)


def calls(function):
    """How many functions are called while one runs."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def peak_bytes(function):
    """The most bytes that Python and numpy hold while a function runs, and those that Arrow holds after it."""
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", ["csv", "quoted.csv", "jsonl", "parquet"])
def test_no_stage_is_a_loop_over_rows(tmp_path, ending):
    for function in stages(tmp_path, ending, 500):
        function[1]()  # whatever is imported or made once
    few, many = ({name: calls(f) for name, f in stages(tmp_path, ending, count)} for count in COUNTS)
    assert {name: many[name] - few[name] < 1000 for name in many} == dict.fromkeys(many, True), (few, many)


@pytest.mark.parametrize("ending", ["csv", "quoted.csv", "jsonl", "parquet"])
def test_a_row_takes_few_bytes_in_each_stage(tmp_path, ending):
    few, many = ({name: peak_bytes(f) for name, f in stages(tmp_path, ending, count)} for count in COUNTS)
    added = COUNTS[1] - COUNTS[0]
    for_row = {name: (many[name] - few[name]) / added for name in many}
    assert max(for_row.values()) < MOST_BYTES, for_row
