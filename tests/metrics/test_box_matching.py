import numpy as np
import pytest

from rayrml.metrics import box_matching
from rayrml.metrics.box_matching import Detections, Truths, match

ALL = 1023  # the bits of all ten thresholds


def found(*rows):
    """Detections of one image: (xmin, ymin, xmax, ymax, score, class)."""
    return Detections(np.array(rows, float).reshape(-1, 6), np.array([0, len(rows)]))


def true(*rows):
    """Boxes of one image: (xmin, ymin, xmax, ymax, class, ignored)."""
    table = np.array(rows, float).reshape(-1, 6)
    return Truths(table[:, :4], table[:, 4].astype(int), table[:, 5] > 0, np.array([0, len(rows)]))


def bits(rows):
    return list(zip(rows["hits"].tolist(), rows["ignored"].tolist(), strict=True))


def test_rows_tell_class_score_image_and_rank():
    rows = match(np.array([7]), found((0, 0, 9, 9, 0.2, 1), (0, 0, 9, 9, 0.4, 0), (0, 0, 9, 9, 0.9, 1)), true())
    names = ("class", "score", "image", "rank", "hits")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (0, 0.4, 7, 0, 0),
        (1, 0.9, 7, 0, 0),
        (1, 0.2, 7, 1, 0),
    ]


def test_a_box_is_found_once_and_by_the_better_detection():
    rows = match(np.array([0]), found((0, 0, 10, 8, 0.5, 0), (0, 0, 10, 10, 0.4, 0)), true((0, 0, 10, 10, 0, 0)))
    # IoU 0.8: the first takes it at 0.50 to 0.80, the second at what is left.
    assert bits(rows) == [(0b0001111111, 0), (0b1110000000, 0)]


@pytest.mark.parametrize(
    ("last", "expected"), [("lower", [(0b1111, 0), (ALL, 0)]), ("upper", [(0b1111, 0), (ALL - 15, 0)])]
)
def test_of_equal_overlaps_the_last_box_is_taken(last, expected):
    upper, lower = (0, 0, 10, 10, 0, 0), (0, 4, 10, 14, 0, 0)
    boxes = (upper, lower) if last == "lower" else (lower, upper)
    # The first detection has an IoU of 2/3 with both, the second finds only the upper one.
    rows = match(np.array([0]), found((0, 2, 10, 12, 0.9, 0), (0, 0, 10, 10, 0.8, 0)), true(*boxes))
    assert bits(rows) == expected


def test_a_box_of_another_class_or_image_is_not_found():
    detections = Detections(np.array([[0, 0, 9, 9, 0.9, 0.0], [0, 0, 9, 9, 0.8, 1]]), np.array([0, 1, 2]))
    truths = Truths(np.array([[0.0, 0, 9, 9]]), np.array([0]), np.array([False]), np.array([0, 0, 1]))
    assert bits(match(np.array([0, 1]), detections, truths)) == [(0, 0), (0, 0)]


def test_an_ignored_box_takes_what_fits_no_other_and_stays_free():
    inside, crowd = (10, 10, 20, 20), (0, 0, 100, 100, 0, 1)
    rows = match(
        np.array([0]),
        found((*inside, 0.9, 0), (*inside, 0.8, 0), (*inside, 0.7, 0)),
        true(crowd, (10, 10, 20, 18, 0, 0)),
    )
    # IoU 0.8 with the box, and wholly inside the crowd.
    assert bits(rows) == [(0b0001111111, 0b1110000000), (0, ALL), (0, ALL)]


def test_only_the_100_best_of_a_class_in_an_image_count():
    scores = np.linspace(0.9, 0.1, 130)
    rows = np.concatenate([np.tile([0.0, 0, 9, 9], (130, 1)), scores[:, None], np.zeros((130, 1))], 1)[::-1]
    ranks = match(np.array([0]), Detections(rows, np.array([0, 130])), true())
    assert ranks["rank"].tolist() == list(range(100)) and ranks["score"].min() == scores[99]


@pytest.mark.parametrize(("shift", "expected"), [(0, ALL), (1e-9, ALL), (20, 0b1111), (34, 0)])
def test_thresholds_are_those_that_the_overlap_reaches(shift, expected):
    rows = match(np.array([0]), found((shift, 0, 100 + shift, 10, 0.9, 0)), true((0, 0, 100, 10, 0, 0)))
    assert bits(rows) == [(expected, 0)]


def test_boxes_without_a_size_are_found_by_nothing():
    rows = match(np.array([0]), found((5, 5, 5, 5, 0.9, 0), (0, 0, 9, 9, 0.8, 0)), true((5, 5, 5, 5, 0, 0)))
    assert bits(rows) == [(0, 0), (0, 0)]


def test_the_rows_are_the_same_if_pairs_are_compared_in_small_parts(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 8, (60, 2)).astype(float)
    table = np.concatenate([corners, corners + 8, rng.random((60, 1)), rng.integers(0, 2, (60, 1))], 1)
    detections = Detections(table, np.array([0, 20, 20, 60]))
    truths = Truths(table[::2, :4], table[::2, 5].astype(int), np.arange(30) % 5 == 0, np.array([0, 10, 15, 30]))
    whole = match(np.arange(3), detections, truths)
    assert whole["hits"].any() and whole["ignored"].any()
    for most in (1, 7, 50):
        monkeypatch.setattr(box_matching, "_MOST_PAIRS", most)
        assert np.array_equal(match(np.arange(3), detections, truths), whole)
