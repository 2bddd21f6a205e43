"""The tables beside files of predictions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rayrml.config.detection import Detection
from rayrml.inference.applications import APPLICATIONS
from rayrml.inference.detection_files import DetectionFile
from rayrml.inference.prediction_files import PredictionFile
from rayrml.planning.preparation import prepare
from rayrml.runs.prediction_tables import TABLES, Predicted, describe_evaluation, tabulate
from tests.box_data import configuration, write_images
from tests.conftest import dense_network

FOUND = {
    "b/7.jpg": [[1.5, 2, 30, 40.25, 0.9, 1], [0, 0, 5, 5, 0.1, 0]],
    "a.jpg": [],
    "8.jpg": [[3, 3, 9, 9, 0.25, 0]],
}


@pytest.fixture
def detections(tmp_path):
    file = DetectionFile(tmp_path / "output_1.h5", ["disc", "bar"])
    file.write(list(FOUND), [np.array(rows, np.float32).reshape(-1, 6) for rows in FOUND.values()])
    file.close()
    return tmp_path


def known(folder, **keys):
    file = str(folder / "output_1.h5")
    loss = {"function": "YOLOv3"}
    return Predicted(
        **{"file": file, "folder": str(folder), "layers": [], "loss": loss, "classes": ("disc", "bar"), **keys}
    )


def test_each_application_has_tables():
    assert TABLES.keys() == APPLICATIONS.keys()


def test_people_get_what_reaches_the_threshold_and_programs_everything(detections):
    tables = tabulate("obj", known(detections))
    rows = {row.path: row.brief["Objects"] for row in tables.rows}
    assert rows == {"b/7.jpg": "1 bar", "a.jpg": "none", "8.jpg": "1 disc"}
    assert [path.rsplit("/", 1)[1] for path in tables.paths] == ["predictions.csv", "detections.json"]
    with Path(tables.paths[0]).open(newline="") as file:
        lines = {line["path"]: line for line in csv.DictReader(file)}
    assert lines["b/7.jpg"] == {
        "path": "b/7.jpg", "class": "bar", "score": "0.9", "xmin": "1.5", "ymin": "2", "xmax": "30", "ymax": "40.25",
    }  # fmt: skip
    assert set(lines["a.jpg"].values()) == {"a.jpg", ""} and len(lines) == 3
    results = json.loads(Path(tables.paths[1]).read_text())
    assert [(each["image_id"], each["category_id"]) for each in results] == [(8, 1), (7, 2), (7, 1)]
    assert results[1]["bbox"] == [1.5, 2, 28.5, 38.25]


def test_the_ids_of_a_data_set_and_another_threshold_are_used(detections):
    ids = {"b/7.jpg": "x", "a.jpg": 5, "8.jpg": 90}
    keys = {"image_ids": ids, "category_ids": (18, 44), "detection": Detection(score_threshold=0.05)}
    tables = tabulate("obj", known(detections, **keys))
    assert [len(row.detections) for row in tables.rows] == [1, 0, 2]
    results = json.loads(Path(tables.paths[1]).read_text())
    assert [(each["image_id"], each["category_id"]) for each in results] == [(90, 18), ("x", 44), ("x", 18)]


def test_classes_have_a_table_with_the_true_ones_if_these_are_known(tmp_path):
    file = PredictionFile(tmp_path / "output_1.h5", ["cat", "dog"])
    file.write(["a.jpg", "b.jpg"], np.array([[3.0, 1.0], [0.0, 2.0]], np.float32))
    file.close()
    keys = {"layers": dense_network(2), "loss": {"function": "CrossEntropy"}, "classes": ("cat", "dog")}
    for truths, headings in ((None, ["path", "class"]), ({"a.jpg": 0, "b.jpg": 0}, ["path", "true_class", "class"])):
        tables = tabulate("dnn", known(tmp_path, **keys, truths=truths))
        assert [row.classes[0] for row in tables.rows] == ["cat", "dog"]
        with Path(tables.paths[0]).open(newline="") as read:
            lines = list(csv.DictReader(read))
        assert list(lines[0])[: len(headings)] == headings
    assert tabulate("dnn", known(tmp_path, **{**keys, "classes": ("a", "b", "c")})) is None


def test_an_evaluation_of_boxes_knows_its_images_and_classes(tmp_path):
    write_images(tmp_path)
    inputs = {"data__input_path": None, "optimizer": None, "data__test_input_path": str(tmp_path / "images" / "train")}
    plan = prepare(configuration(tmp_path, **inputs, loss__anchors=[[9, 9]] * 4, detection={"nms_iou": 0.3}))
    found = describe_evaluation(plan, "/out", ["/out/output_1.h5"])
    assert (found.file, found.folder, found.classes) == ("/out/output_1.h5", "/out", ("disc", "bar"))
    assert (found.truths, found.detection.nms_iou, found.image_ids) == (None, 0.3, {})
    assert describe_evaluation(plan, "/out", []) is None
    predicts = prepare(
        configuration(tmp_path, **inputs, data__target_type=None, data__classes=["a", "b"], loss__anchors=[[9, 9]] * 4)
    )
    assert not predicts.datasets.test_targets
