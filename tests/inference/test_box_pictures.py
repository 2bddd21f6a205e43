import numpy as np
import pytest

from rayrml.data.box_labels import BoxTable
from rayrml.inference.box_pictures import BoxDrawing, draw_boxes
from rayrml.inference.palette import colors_of

NOTHING = np.zeros((0, 6))
GRAY = np.full((500, 800, 3), 100, np.uint8)


def color(number):
    return colors_of(np.array([number + 1]))[0].tolist()


def draw(*rows, image=GRAY, truths=None, names=("cat", "dog")):
    detections = np.array(rows, float).reshape(-1, 6)
    return np.asarray(draw_boxes(image, detections, names, None if truths is None else np.array(truths, float)))


def test_without_boxes_the_image_stays():
    assert np.array_equal(draw(), GRAY)
    assert np.array_equal(draw(truths=np.zeros((0, 4))), GRAY)


def test_a_detection_has_the_color_of_its_class_and_a_name_above():
    picture = draw([100, 200, 300, 400, 0.87, 1])
    for row, column in ((399, 150), (300, 100), (300, 299)):
        assert picture[row, column].tolist() == color(1)
    assert (picture[250:350, 110:290] == 100).all()
    assert (picture[185:199, 101:140] == color(1)).all(-1).any()
    assert (picture[:170] == 100).all() and (picture[405:] == 100).all()


def test_a_name_is_in_the_box_where_there_is_no_room_above():
    picture = draw([750, 0, 800, 100, 0.87, 0])
    assert (picture[1:15, 720:790] == color(0)).all(-1).any()


def test_true_boxes_are_white_on_black():
    picture = draw(truths=[[100, 200, 300, 400]])
    assert picture[300, 99:102].tolist() == [[0, 0, 0], [255, 255, 255], [0, 0, 0]]


def test_the_best_detection_is_on_top():
    best, other = [100, 200, 300, 400, 0.9, 0], [100, 200, 300, 400, 0.2, 1]
    assert draw(best, other)[300, 100].tolist() == color(0)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((500, 800), (500, 800)), ((3200, 1600), (1600, 800)), ((30, 50), (240, 400)), ((1, 7), (58, 406))],
)
def test_pictures_are_large_enough_and_not_too_large(size, shown):
    image = np.zeros((*size, 3), np.uint8)
    assert draw([0, 0, size[1], size[0], 0.5, 0], image=image).shape[:2] == shown


def test_boxes_follow_the_size_of_the_picture():
    picture = draw([10, 20, 30, 40, 0.5, 0], image=np.zeros((50, 100, 3), np.uint8))
    assert picture.shape == (200, 400, 3)
    assert picture[120, [40, 119]].tolist() == [color(0)] * 2 and picture[159, 80].tolist() == color(0)
    assert not picture[165:].any()


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 5], [799.9, 499.9, 800, 500], [-50, -50, 900, 900], [0, 0, np.nan, np.inf], [900, 900, 950, 950]]
)
def test_any_box_can_be_drawn(box):
    assert draw([*box, 0.5, 0], truths=[box]).shape == GRAY.shape


def test_any_name_can_be_drawn():
    for name in ("猫 😀", "a\nb\x00", "x" * 300, ""):
        draw([10, 20, 300, 400, 0.5, 0], names=(name,))
    draw([10, 20, 300, 400, 0.5, 700])


def test_names_are_not_written_over_one_another():
    """Also if two classes were found at the same place."""
    same = [100, 200, 300, 400]
    picture = draw([*same, 0.9, 0], [*same, 0.8, 1])
    assert (picture[185:199, 101:140] == color(0)).all(-1).any()
    assert (picture[204:215, 110:140] == color(1)).all(-1).any()


def test_true_boxes_that_need_not_be_found_are_gray():
    truths = np.array([[100.0, 200, 300, 400], [400, 200, 500, 400]])
    drawn = np.asarray(draw_boxes(GRAY, np.zeros((0, 6)), (), truths, ignored=np.array([True, False])))
    assert drawn[300, 100].tolist() == [150] * 3 and drawn[300, 400].tolist() == [255] * 3


def test_lines_of_true_boxes_are_wider_in_large_pictures():
    drawn = np.asarray(draw_boxes(np.zeros((1600, 1600, 3), np.uint8), np.zeros((0, 6)), (), np.full((1, 4), 9.0)))
    assert (drawn[9:11, 9:11] == 255).all()


def test_texts_leave_low_pictures_visible():
    picture = draw([100, 20, 200, 40, 0.9, 0], image=np.zeros((60, 1200, 3), np.uint8))
    assert (picture[:, 90:220] == 0).all(-1).mean() > 0.6


def test_a_drawing_shows_detections_from_its_threshold_on():
    table = BoxTable(
        np.array([[5.0, 5, 20, 20]]), np.zeros(1, int), np.zeros(1, bool), np.array([0, 1]), np.ones((1, 2))
    )
    rows = np.array([[100, 200, 300, 400, 0.5, 0], [500, 100, 600, 200, 0.4, 1]])
    drawing = BoxDrawing(("cat", "dog"), 0.5)
    assert np.array_equal(drawing.picture(GRAY, rows), draw(rows[0], names=("cat", "dog")))
    assert np.asarray(drawing.picture(GRAY, rows, table))[10, 5].tolist() == [255] * 3
    assert drawing.picture(GRAY, rows, length=200).size == (200, 125)
