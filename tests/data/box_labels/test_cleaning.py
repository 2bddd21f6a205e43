import json

import numpy as np
import pytest

from rayrml.data.box_labels import turn_boxes
from rayrml.data.box_labels.cleaning import clean
from rayrml.data.box_labels.table import Rows
from tests.data.box_labels.conftest import HERE

EXIF = json.loads((HERE / "exif.json").read_text())


def rows(*boxes, ignored=None, images=None):
    count = len(boxes)
    return Rows(
        images=np.array(images or [0] * count, np.int64),
        corners=np.array([box[1:] for box in boxes], float).reshape(-1, 4),
        codes=np.array([box[0] for box in boxes], np.int64),
        ignored=np.array(ignored or [False] * count, bool),
        objects=np.arange(count),
    )


def test_boxes_are_turned_as_exif_turns_images():
    fields = ("box", "stored", "orientation", "upright_box")
    boxes, stored, orientations, expected = (np.array([case[key] for case in EXIF]) for key in fields)
    assert turn_boxes(boxes.astype(float), stored, orientations).tolist() == expected.tolist()
    assert sorted(orientations) == [*range(1, 9)]


def test_of_equal_boxes_the_first_counts_unless_it_is_ignored():
    boxes = [(0, 1, 2, 3, 4), (1, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 5), (0, 1, 2, 3, 4)]
    kept, counts = clean(rows(*boxes, ignored=[True, True, False, False, False]), np.array([[10, 10]]))
    assert kept.objects.tolist() == [1, 2, 3]
    assert kept.ignored.tolist() == [True, False, False]
    assert counts == {"duplicates": 2, "empty": 0, "cut": 0}


def test_equal_boxes_of_two_images_both_count():
    kept, _ = clean(rows((0, 1, 2, 3, 4), (0, 1, 2, 3, 4), images=[0, 1]), np.array([[10, 10], [10, 10]]))
    assert kept.images.tolist() == [0, 1]


def test_duplicates_are_found_before_boxes_are_cut_and_empty_ones_left_out():
    boxes = [
        (0, -5, 0, 5, 5),
        (0, -6, 0, 5, 5),
        (0, 20, 0, 30, 5),
        (0, 20, 0, 30, 5),
        (0, 3, 3, 3, 9),
        (0, 0, 0, 20, 10),
    ]
    kept, counts = clean(rows(*boxes), np.array([[10, 20]]))
    assert kept.corners.tolist() == [[0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 20, 10]]
    assert counts == {"duplicates": 1, "empty": 2, "cut": 2}


def test_rounding_at_the_edge_is_cut_but_not_counted():
    kept, counts = clean(rows((0, -1e-5, 0, 20.00001, 10)), np.array([[10, 20]]))
    assert kept.corners.tolist() == [[0, 0, 20, 10]]
    assert counts["cut"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_any_boxes_are_cut_to_their_image(seed):
    draws = np.random.default_rng(seed)
    corners = np.sort(draws.uniform(-10, 40, (200, 2, 2)), axis=1).reshape(-1, 4)
    images = np.sort(draws.integers(0, 3, 200))
    sizes = draws.integers(1, 30, (3, 2))
    given = Rows(images, corners, draws.integers(0, 2, 200), np.zeros(200, bool), np.arange(200))
    kept, counts = clean(given, sizes)
    assert len(kept) + counts["empty"] + counts["duplicates"] == 200
    assert (kept.corners[:, :2] >= 0).all()
    assert (kept.corners[:, 2:] <= sizes[kept.images][:, ::-1]).all()
    assert (kept.corners[:, 2:] > kept.corners[:, :2]).all()
    assert np.array_equal(kept.objects, np.sort(kept.objects))


def test_no_boxes_stay_none():
    kept, counts = clean(rows(), np.array([[10, 10]]))
    assert len(kept) == 0
    assert set(counts.values()) == {0}
