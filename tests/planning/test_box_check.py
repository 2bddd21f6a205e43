"""What is said of boxes and anchors."""

import re

import pytest

from rayrml.planning.box_check import HEADINGS, count_boxes, describe_sizes
from rayrml.planning.preparation import prepare
from tests.box_data import configuration, grids, write_images


def plan_of(folder, labels=None, **changes):
    write_images(folder, labels)
    return prepare(configuration(folder, **changes))


def test_boxes_and_the_images_with_them_are_counted_by_class(tmp_path):
    write_images(tmp_path, {"e": ["1 0.5 0.5 0.5 0.5"]}, part="test")
    plan = plan_of(tmp_path, data__test_input_path=str(tmp_path / "images" / "test"))
    assert count_boxes(plan.datasets) == [("disc", "3", "2", "0", "0"), ("bar", "2", "2", "1", "1")]
    assert len(HEADINGS) == 5
    assert describe_sizes(plan.datasets) == "16.0 x 8.0 to 48.0 x 48.0 pixels of the network's input"
    alone = plan_of(tmp_path)
    assert count_boxes(alone.datasets)[0] == ("disc", "3", "2", "-", "-")


def test_the_anchors_are_shown_with_their_overlap(tmp_path):
    found, given = plan_of(tmp_path), plan_of(tmp_path, loss__anchors=[[16, 8], [32, 16], [48, 48], [16, 16]])
    assert re.fullmatch(
        r"Anchors of the training boxes: 16\.0x8\.0 .*; mean IoU with the boxes 0\.8833", found.notes[-1]
    )
    # The box of 8 x 16 pixels is half of that of 16 x 16, the others are anchors themselves.
    text = "Anchors as given: 16.0x8.0 16.0x16.0 32.0x16.0 48.0x48.0; mean IoU with the boxes 0.9000"
    assert given.notes[-1] == text
    assert not found.warnings and not given.warnings


@pytest.mark.parametrize("anchors", [[[1, 1]] * 4, [[900, 900]] * 4])
def test_given_anchors_that_suit_few_boxes_are_warned_of(tmp_path, anchors):
    (warning,) = plan_of(tmp_path, loss__anchors=anchors).warnings
    assert re.fullmatch(
        r'the anchors have a mean IoU of 0\.0\d with the training boxes: few are like them\. Use "auto"', warning
    )


FOUR = ["0 0.25 0.25 0.25 0.125", "0 0.75 0.75 0.5 0.25", "0 0.5 0.5 0.75 0.75", "0 0.5 0.25 0.125 0.25"]


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (FOUR, "no training image has a box of class bar"),
        (
            [*FOUR, "1 0.5 0.5 0.03 0.5"],
            "1 of 5 training boxes is smaller than 2 pixels in the network's input: a larger input shows them better",
        ),
        (
            [*FOUR, "1 0.5 0.5 0.75 0.75"],
            "1 of 5 training boxes shares its place with another box of the image: finer grids or more anchors",
        ),
    ],
)
def test_boxes_that_can_hardly_be_learnt_are_warned_of(tmp_path, lines, warning):
    (found,) = plan_of(tmp_path, {"a": lines, "b": []}, loss__anchors=[[16, 8], [32, 16], [48, 48], [8, 16]]).warnings
    assert found.startswith(warning)


def test_a_momentum_that_forgets_is_warned_of(tmp_path):
    (warning,) = plan_of(tmp_path, layers=grids(momentum=0.1)).warnings
    assert "(norm) has a momentum of 0.1" in warning
