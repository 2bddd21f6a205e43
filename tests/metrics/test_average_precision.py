"""mAP is that of pycocotools 2.0.11, which computed the expected numbers in average_precision.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from rayrml.metrics.average_precision import DetectionRows, average_precisions, join_rows
from rayrml.metrics.box_matching import ROW, Detections, Truths

CASES = json.loads(Path(__file__).with_name("average_precision.json").read_text())
by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
FOUND = [10, 10, 30, 30, 0.9, 0]
BOX = [0, 10, 10, 30, 30, 0]


def starts(parts):
    return np.cumsum([0, *map(len, parts)])


def as_arrays(images, kind=np.float64):
    """Detections and true boxes of images as in average_precision.json."""
    found = [np.array(image["detections"], kind).reshape(-1, 6) for image in images]
    true = [np.array(image["truths"], float).reshape(-1, 6) for image in images]
    rows = np.concatenate([np.zeros((0, 6)), *true])
    truths = Truths(rows[:, 1:5], rows[:, 0].astype(int), rows[:, 5] > 0, starts(true))
    return Detections(np.concatenate([np.zeros((0, 6), kind), *found]), starts(found)), truths


def collect(images, num_classes, numbers=None, batch_size=2):
    """The rows of images, and how many boxes there are of each class."""
    collected = DetectionRows(num_classes)
    numbers = np.arange(len(images)) if numbers is None else numbers
    for batch in np.array_split(numbers, range(batch_size, len(numbers), batch_size)):
        collected.add(batch, *as_arrays([images[number] for number in batch]))
    return collected.rows, collected.counts


def figures(images, num_classes=1, score_threshold=0.25):
    return average_precisions(*collect(images, num_classes), score_threshold)


def all_numbers(figures):
    of_all = np.array([figures.map, figures.map50, figures.map75], float)  # NaN for None
    return np.concatenate([of_all, *figures.columns.values(), *figures.curves])


def approximately(value):
    return None if value is None else pytest.approx(value, abs=1e-12)


@by_name
def test_figures_are_those_of_pycocotools(case):
    found, expected = figures(case["images"], case["num_classes"]), case["expected"]
    assert found.map == approximately(expected["map"])
    assert found.map50 == approximately(expected["map50"])
    assert found.map75 == approximately(expected["map75"])
    for number, of_class in expected["per_class"].items():
        own = {name: column[int(number)] for name, column in found.columns.items()}
        if of_class is None:
            assert own["boxes"] == 0 and np.isnan([own["average_precision"], own["average_precision_50"]]).all()
        else:
            assert own["average_precision"] == approximately(of_class["map"])
            assert own["average_precision_50"] == approximately(of_class["map50"])
            assert found.curves[int(number)].mean() == approximately(of_class["map50"])


@by_name
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_figures_are_the_same_to_the_last_bit_for_any_split_and_order(case, num_workers):
    rng = np.random.default_rng(num_workers)
    order = rng.permutation(len(case["images"]))
    parts = [
        collect(case["images"], case["num_classes"], order[rank::num_workers], batch_size=1 + rank)
        for rank in range(num_workers)
    ]
    rows = rng.permutation(join_rows([rows for rows, _ in parts]))
    found = average_precisions(rows, np.sum([counts for _, counts in parts], 0), 0.25)
    expected = figures(case["images"], case["num_classes"])
    np.testing.assert_array_equal(all_numbers(found), all_numbers(expected))


def test_detections_may_be_float32():
    rows, _ = collect([{"detections": [FOUND], "truths": [BOX]}], 1)
    single = DetectionRows(1)
    single.add(np.array([0]), *as_arrays([{"detections": [FOUND], "truths": [BOX]}], np.float32))
    assert single.rows["hits"].tolist() == rows["hits"].tolist() == [1023]


def test_without_images_there_is_no_figure():
    nothing = DetectionRows(2)
    assert nothing.rows.dtype == ROW and len(nothing.rows) == 0
    found = average_precisions(nothing.rows, nothing.counts, 0.25)
    assert (found.map, found.map50, found.map75) == (None, None, None)
    assert np.isnan(found.columns["recall"]).all() and np.isnan(found.curves).all()


def test_only_ignored_boxes_are_no_figure_either():
    found = figures([{"detections": [FOUND], "truths": [[*BOX[:5], 1]]}])
    assert found.map is None and found.columns["boxes"].tolist() == [0]


def test_precision_and_recall_are_those_from_the_score_threshold_on():
    other = [50, 50, 70, 70]
    images = [{"detections": [FOUND, [*other, 0.8, 0], [*other, 0.3, 0]], "truths": [BOX, [0, 80, 80, 99, 99, 0]]}]
    columns = figures(images, score_threshold=0.5).columns
    assert (columns["precision"].tolist(), columns["recall"].tolist()) == ([0.5], [0.5])
    columns = figures(images, score_threshold=0.25).columns
    assert columns["precision"].tolist() == pytest.approx([1 / 3])
    columns = figures(images, score_threshold=0.95).columns
    assert (columns["precision"].tolist(), columns["recall"].tolist()) == ([0], [0])


def test_map_does_not_depend_on_the_score_threshold():
    images = next(case["images"] for case in CASES if case["name"] == "random 1")
    low, high = (figures(images, 9, score_threshold=threshold) for threshold in (0.001, 0.9))
    assert (low.map, low.map50) == (high.map, high.map50)
    np.testing.assert_array_equal(low.curves, high.curves)


def test_a_detection_on_an_ignored_box_counts_neither_way():
    images = [{"detections": [FOUND, [50, 50, 60, 60, 0.8, 0]], "truths": [BOX, [0, 40, 40, 90, 90, 1]]}]
    found = figures(images)
    assert found.map == pytest.approx(1)
    assert (found.columns["precision"].tolist(), found.columns["boxes"].tolist()) == ([1], [1])
