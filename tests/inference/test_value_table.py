"""The table of outputs for the columns of a table: classes that samples may have together, and numbers."""

import csv

import numpy as np
import pytest

from rayrml.inference.class_table import tabulator, write_table

LAYERS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4]}},
    {"class_name": "Dense", "config": {"name": "last", "units": 3}},
]
SIGMOID = [LAYERS[0], {"class_name": "Dense", "config": {"name": "last", "units": 3, "activation": "sigmoid"}}]
CLASSES = {"target_type": "table", "target_kind": "classes"}
NUMBERS = {"target_type": "table", "target_kind": "number", "target_column": ["age", "path", "labels"]}
OUTPUT = np.array([2.0, -1.0, 0.0], np.float32)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("layers", "source", "expected"),
    [(LAYERS, "logits", 1 / (1 + np.exp(-OUTPUT.astype(float)))), (SIGMOID, "sigmoid", [0.7, 0.2, 0.5])],
)
def test_classes_are_those_with_a_probability_above_one_half(tmp_path, layers, source, expected):
    table = tabulator(layers, {"function": "BCE", "source": source}, ("labels", "path", "x"), CLASSES)
    assert table.applies((3,))
    output = OUTPUT if source == "logits" else np.array(expected, np.float32)
    list(write_table(tmp_path / "t.csv", [table.row("a.png", output, np.array([0, 1, 1]))]))
    (row,) = read(tmp_path / "t.csv")
    assert (row["path"], row["true_labels"], row["labels"]) == ("a.png", "path;x", "labels")
    found = [float(row[f"probability_{name}"]) for name in ("labels", "path", "x")]
    assert found == pytest.approx(list(expected), rel=1e-5)


def test_numbers_are_beside_the_true_ones(tmp_path):
    table = tabulator(LAYERS, {"function": "MSE"}, (), NUMBERS)
    list(write_table(tmp_path / "t.csv", [table.row("a.png", OUTPUT, np.array([1.0, 2.0, 3.5]))]))
    (row,) = read(tmp_path / "t.csv")
    assert row == {
        "path": "a.png",
        "true_age": "1",
        "true_path": "2",
        "true_labels": "3.5",
        "predicted_age": "2",
        "predicted_path": "-1",
        "predicted_labels": "0",
    }


def test_without_targets_there_is_no_truth(tmp_path):
    for targets in (CLASSES, NUMBERS):
        row = tabulator(LAYERS, {"function": "BCE", "source": "logits"}, ("a", "b", "c"), targets).row("x", OUTPUT)
        assert not any(name.startswith("true") for name in row.cells)


def test_other_outputs_have_no_place_in_the_table():
    assert not tabulator(LAYERS, {"function": "MSE"}, (), NUMBERS).applies((2,))
    assert not tabulator(LAYERS, {"function": "BCE"}, ("a", "b"), CLASSES).applies((3,))


def test_a_threshold_decides_which_classes_a_sample_has():
    table = tabulator(SIGMOID, {"function": "BCE"}, ("a", "b", "c"), {**CLASSES, "threshold": 0.3})
    assert table.row("x", np.array([0.31, 0.29, 0.9], np.float32)).labels == ("a", "c")
