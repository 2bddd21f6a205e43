import csv
import json

import h5py
import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.inference.detection_files import (
    COLUMNS,
    Detected,
    DetectionFile,
    find_image_ids,
    number_categories,
    select,
    write_coco_results,
    write_detection_table,
)
from rayrml.inference.prediction_reading import read_outputs

NOTHING = np.zeros((0, 6), np.float32)
TWO = np.array([[1, 2, 30.5, 40, 0.9, 1], [0.1, 0, 5, 5, 0.25, 0]], np.float32)
CLASSES = ("cat", "dög")


def test_each_image_has_a_dataset_of_its_detections(tmp_path):
    file = DetectionFile(tmp_path / "output_1.h5", CLASSES)
    file.write(["a.jpg", "sub/ü.jpg"], [TWO, NOTHING])
    file.write(["c.jpg"], [np.tile(TWO, (2000, 1))])
    file.close()
    with h5py.File(tmp_path / "output_1.h5") as opened:
        assert opened["a.jpg"].dtype == np.float32 and np.array_equal(opened["a.jpg"], TWO)
        assert opened["sub/ü.jpg"].shape == (0, 6)
        assert opened["c.jpg"].shape == (4000, 6)
        assert opened.attrs["classes"].tolist() == list(CLASSES)
        assert opened.attrs["columns"].tolist() == list(COLUMNS)
    assert {name: table.shape for name, table in read_outputs(tmp_path / "output_1.h5")} == {
        "a.jpg": (2, 6),
        "c.jpg": (4000, 6),
        "sub/ü.jpg": (0, 6),
    }


def test_an_unfinished_file_does_not_appear(tmp_path):
    file = DetectionFile(tmp_path / "output_1.h5", CLASSES)
    file.write(["a.jpg"], [TWO])
    file.discard()
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_line_for_each_detection_and_one_for_an_image_without(tmp_path):
    images = [Detected("a,b.jpg", TWO, CLASSES), Detected("n.jpg", NOTHING, CLASSES)]
    assert list(write_detection_table(tmp_path / "predictions.csv", images)) == images
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "class", "score", "xmin", "ymin", "xmax", "ymax"],
            ["a,b.jpg", "dög", "0.9", "1", "2", "30.5", "40"],
            ["a,b.jpg", "cat", "0.25", "0.1", "0", "5", "5"],
            ["n.jpg", "", "", "", "", "", ""],
        ]


def test_a_table_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"predictions\.csv: cannot be written"):
        list(write_detection_table(tmp_path / "file" / "predictions.csv", []))


@pytest.mark.parametrize(
    ("numbers", "names", "objects"),
    [
        ([0, 1, 0], ("cat", "dog"), "2 cats, 1 dog"),
        ([1, 0], ("cat", "dog"), "1 cat, 1 dog"),
        ([], ("cat",), "none"),
        ([0] * 1200, ("bus",), "1,200 buses"),
        ([0, 0, 1, 1, 2, 2], ("scissors", "bench", "car 2"), "2 scissors, 2 benches, 2 car 2"),
        ([3, 3], ("cat",), "2 3"),
    ],
)
def test_the_screen_counts_objects(numbers, names, objects):
    rows = np.array([[0, 0, 1, 1, 0.5, number] for number in numbers]).reshape(-1, 6)
    image = Detected("a.jpg", rows, names)
    assert image.brief == {"Path": "a.jpg", "Objects": objects}
    assert len(image.counted) == len(numbers)


def test_detections_are_selected_by_their_score():
    assert np.array_equal(select(TWO, 0.25), TWO)
    assert np.array_equal(select(TWO, 0.5), TWO[:1])
    assert select(TWO, 0.95).shape == (0, 6)


def test_results_of_coco_are_exact(tmp_path):
    write_coco_results(tmp_path / "detections.json", [(7, TWO), ("n", NOTHING), ('b"', TWO[1:])], [90, 3])
    found = json.loads((tmp_path / "detections.json").read_text())
    assert [result["image_id"] for result in found] == [7, 7, 'b"']
    assert [result["category_id"] for result in found] == [3, 90, 90]
    assert found[0]["bbox"] == [1, 2, 29.5, 38] and found[0]["score"] == float(np.float32(0.9))
    assert found[1]["bbox"] == [float(np.float32(0.1)), 0, 5 - float(np.float32(0.1)), 5]


def test_ids_of_classes_may_be_text(tmp_path):
    write_coco_results(tmp_path / "detections.json", [(7, TWO)], ['the "cat"', "dog"])
    found = json.loads((tmp_path / "detections.json").read_text())
    assert [result["category_id"] for result in found] == ["dog", 'the "cat"']


def test_results_of_nothing_are_an_empty_list(tmp_path):
    write_coco_results(tmp_path / "detections.json", [(7, NOTHING)], [1, 2])
    assert json.loads((tmp_path / "detections.json").read_text()) == []


def test_images_are_named_by_their_numbers_if_these_are_unique():
    assert find_image_ids(["000139.jpg", "a/7.png", "b.jpg", "1.5.jpg", "²", "9" * 30 + ".jpg"]) == [
        139,
        7,
        "b.jpg",
        "1.5.jpg",
        "²",
        "9" * 30 + ".jpg",
    ]
    assert find_image_ids(["a/1.jpg", "b/01.jpg", "2.jpg"]) == ["a/1.jpg", "b/01.jpg", 2]


def test_classes_are_numbered_from_1():
    assert number_categories(CLASSES) == [1, 2]
