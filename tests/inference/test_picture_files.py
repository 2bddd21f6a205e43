import csv
import dataclasses
import os
import socket

import numpy as np
import pytest
from PIL import Image

from rayrml.data.discovery import Samples
from rayrml.errors import DataError
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.picture_destination import PictureDestination
from rayrml.inference.picture_files import PictureFiles, name_pictures
from rayrml.inference.pictures import Drawing


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def destination(tmp_path):
    """For three images of 4x6 pixels, and a network of three classes."""
    names = ["a.jpg", "a.png", "Größe/b c.png"]
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(path)
    drawing = Drawing("masks", "softmax", 3, ("sky", "road", "car"), (4, 6), ())
    return PictureDestination(str(tmp_path / "out"), 2, drawing, Samples(str(tmp_path / "in"), names))


def outputs(classes):
    return np.stack([np.broadcast_to(np.eye(3)[number][:, None, None], (3, 4, 6)) for number in classes])


def test_each_sample_has_a_mask_and_an_overlay_and_all_have_a_table(destination, tmp_path):
    files = PictureFiles(destination)
    files.write(np.array([2, 0]), outputs([1, 0]))
    files.write(np.array([1]), outputs([2]))
    files.close()
    assert written(tmp_path / "out") == [
        "classes_2.csv",
        *(f"masks_2/{name}.png" for name in ("Größe/b c", "a.jpg", "a.png")),
        *(f"overlays_2/{name}.jpg" for name in ("Größe/b c", "a.jpg", "a.png")),
    ]
    with Image.open(tmp_path / "out" / "masks_2" / "a.png.png") as mask:
        assert mask.mode == "P" and (np.asarray(mask) == 2).all()
    rows = list(csv.reader((tmp_path / "out" / "classes_2.csv").read_text().splitlines()))
    assert rows[0] == ["class", "name", "color", "pixels", "share"]
    assert [row[:2] + row[3:] for row in rows[1:]] == [
        [str(number), name, "24", "0.333333"] for number, name in enumerate(["sky", "road", "car"])
    ]
    assert rows[1][2] == "#000000"


def test_pixels_without_a_prediction_are_in_the_table(destination, tmp_path):
    files = PictureFiles(destination)
    files.write(np.array([0]), np.full((1, 3, 4, 6), np.nan))
    files.close()
    assert (tmp_path / "out" / "classes_2.csv").read_text().splitlines()[-1] == "255,not predicted,#808080,24,1"


def test_discarded_files_leave_no_half_picture_and_no_table(destination, tmp_path):
    files = PictureFiles(destination)
    files.write(np.array([0, 1, 2]), outputs([0, 1, 2]))
    files.discard()
    assert not [name for name in written(tmp_path / "out") if name.endswith((".unfinished", ".csv"))]


def test_what_a_killed_process_left_is_removed(destination, tmp_path):
    folder = tmp_path / "out" / "masks_2"
    folder.mkdir(parents=True)
    number = os.fork()
    if not number:
        os._exit(0)
    os.waitpid(number, 0)
    (folder / f".z.png.{socket.gethostname()}.{number}-3.unfinished").touch()
    files = PictureFiles(destination)
    files.write(np.array([0]), outputs([0]))
    files.close()
    assert written(folder) == ["a.jpg.png"]


def test_a_folder_that_cannot_be_made_is_named(destination, tmp_path):
    (tmp_path / "out").touch()
    files = PictureFiles(destination)
    files.write(np.array([0]), outputs([0]))
    with pytest.raises(DataError, match=r"out/masks_2/a\.jpg\.png: cannot be written"):
        files.close()
    files.discard()


def test_an_image_that_is_gone_is_named(destination, tmp_path):
    (tmp_path / "in" / "a.png").unlink()
    files = PictureFiles(destination)
    files.write(np.array([1]), outputs([0]))
    with pytest.raises(DataError, match=r"in/a\.png: cannot be read"):
        files.close()
    files.discard()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.x.jpg", "f/a.jpg", "bare"], ["a.png", "b.x.png", "f/a.png", "bare.png"]),
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg.png", "a.png.png", "b.png"]),
        (["a.jpg", "a.png", "a.jpg.tif"], ["a.jpg.png", "a.png.png", "a.jpg.tif.png"]),
        (["a.jpg", "a.png/b.jpg"], ["a.jpg.png", "a.png/b.jpg.png"]),
    ],
)
def test_no_two_samples_have_the_same_picture(names, expected):
    assert name_pictures(names, ".png") == expected


def test_a_name_as_long_as_file_systems_allow_is_no_obstacle(destination, tmp_path):
    name = "ж" * 125 + ".png"
    Image.new("RGB", (6, 4)).save(tmp_path / "in" / name)
    samples = Samples(str(tmp_path / "in"), [name])
    files = PictureFiles(PictureDestination(str(tmp_path / "out"), 1, destination.drawing, samples))
    files.write(np.array([0]), outputs([0]))
    files.close()
    assert (tmp_path / "out" / "masks_1" / name).exists()


def test_detections_are_drawn_on_the_images_that_they_belong_to(destination, tmp_path):
    """Tables of any number of rows; a picture has the name of its image."""
    boxes = dataclasses.replace(destination, drawing=BoxDrawing(("sky", "road"), 0.25))
    files = PictureFiles(boxes)
    files.write(np.array([2, 0]), [np.zeros((0, 6), np.float32), np.array([[0, 0, 3, 4, 0.9, 1]], np.float32)])
    files.write(np.array([1]), np.array([[[0, 0, 3, 4, 0.2, 1]]], np.float32))
    files.close()
    assert boxes.paths == {"boxes": str(tmp_path / "out" / "boxes_2")} and boxes.folders == list(boxes.paths.values())
    assert written(tmp_path / "out") == [f"boxes_2/{name}.jpg" for name in ("Größe/b c", "a.jpg", "a.png")]
    drawn = {name: np.asarray(Image.open(tmp_path / "out" / "boxes_2" / name)) for name in ("a.jpg.jpg", "a.png.jpg")}
    assert drawn["a.jpg.jpg"].shape == (268, 402, 3)
    assert drawn["a.jpg.jpg"].any() and not drawn["a.png.jpg"].any()
