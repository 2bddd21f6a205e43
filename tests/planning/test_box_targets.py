"""Boxes as targets of a configuration's images."""

import re

import numpy as np
import pytest

from rayrml.config.sections import Data
from rayrml.data.discovery import find_samples
from rayrml.errors import ConfigError, DataError
from rayrml.planning.box_targets import BoxTargets
from rayrml.planning.preparation import prepare
from tests.box_data import configuration, write_images

IMAGES = {"input_type": "images", "target_type": "boxes"}


def targets_of(folder, **data):
    """The targets, and the images that they are for."""
    images = find_samples(str(folder / "images" / "train"), {".jpg"}, "")
    return BoxTargets(Data.model_validate({**IMAGES, "input_path": images.root, **data})), images


def test_images_get_their_boxes_in_pixels_with_classes_from_the_files_beside_them(tmp_path):
    write_images(tmp_path)
    targets, images = targets_of(tmp_path)
    found = targets.label(images, "training", None)
    assert found.classes == ("disc", "bar") and found.names == images.names
    assert found.boxes.counts.tolist() == [2, 1, 0, 2]
    np.testing.assert_allclose(found.boxes.corners[:2], [[8, 12, 24, 20], [32, 40, 64, 56]])
    assert "5 boxes in 4 images, 1 of them without boxes" in targets.notes
    assert targets.category_ids == ()


def test_a_bad_image_is_refused_or_left_out(tmp_path):
    write_images(tmp_path, {"a": ["0 0.5 0.5 0.5 0.5"], "b": ["0 30 40 20 20"], "c": ["1 0.5 0.5 0.5 0.5"]})
    targets, images = targets_of(tmp_path)
    with pytest.raises(DataError, match=r"labels/train/b\.txt, line 1: 30"):
        targets.label(images, "training", None)
    targets, images = targets_of(tmp_path, on_bad_sample="skip")
    found = targets.label(images, "training", None)
    assert list(found.names) == ["a.jpg", "c.jpg"] and found.boxes.classes.tolist() == [0, 1]
    assert len(found.unreadable) == 1


def test_images_without_labels_are_measured(tmp_path):
    """Their sizes are needed to predict in their pixels; what cannot be read is an error, or left out."""
    write_images(tmp_path)
    targets, images = targets_of(tmp_path)
    assert targets.measure(images).boxes.sizes.tolist() == [[64, 64]] * 4
    (tmp_path / "images" / "train" / "b.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"b\.jpg"):
        targets.measure(images)
    targets, images = targets_of(tmp_path, on_bad_sample="skip")
    measured = targets.measure(images)
    assert list(measured.names) == ["a.jpg", "c.jpg", "d.jpg"] and len(measured.boxes) == 3


def test_classes_are_a_list_or_a_file(tmp_path):
    write_images(tmp_path)
    (tmp_path / "names.txt").write_text("x\ny\n")
    assert targets_of(tmp_path)[0].read_names(()) == ()
    assert targets_of(tmp_path, classes=["x", "y"])[0].read_names(()) == ("x", "y")
    assert targets_of(tmp_path, classes=str(tmp_path / "names.txt"))[0].read_names(("a", "b")) == ("x", "y")
    with pytest.raises(DataError, match="no such file"):
        targets_of(tmp_path, classes="/nowhere.txt")[0].read_names(())
    with pytest.raises(DataError, match="hold 'x' several times"):
        targets_of(tmp_path, classes=["x", "x"])[0].read_names(())
    tested = {"input_path": None, "test_input_path": "/images", "classes": ["x", "y"]}
    assert targets_of(tmp_path, **tested)[0].read_names(["x", "y"]) == ("x", "y")
    with pytest.raises(ConfigError, match=re.escape("data.classes: are not those that the checkpoint's network finds")):
        targets_of(tmp_path, **tested)[0].read_names(["y", "x"])


def test_the_log_names_the_part_of_labels_and_tells_those_of_one_folder_once(tmp_path):
    write_images(tmp_path)
    write_images(tmp_path, {"e": ["1 0.5 0.5 0.5 0.5"]}, part="test")
    apart = prepare(configuration(tmp_path, data__test_input_path=str(tmp_path / "images" / "test"))).notes
    assert [note for note in apart if "without boxes" in note] == [
        "Training: 5 boxes in 4 images, 1 of them without boxes",
        "Test: 1 box in 1 image, 0 of them without boxes",
    ]
    shared = prepare(configuration(tmp_path, data__test_share=0.25, loss__anchors=[[9, 9]] * 4)).notes
    assert [note for note in shared if "without boxes" in note] == [
        "Training and test: 5 boxes in 4 images, 1 of them without boxes"
    ]
