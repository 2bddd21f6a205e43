import os
import unicodedata

import pytest

from rayrml.errors import ConfigError, DataError
from tests.data.box_labels.test_voc import annotation, one

LINE = "0 0.5 0.5 0.5 0.5\n"
BOX = [(0, 2.5, 2.5, 7.5, 7.5)]
SIZE = (10, 10)


@pytest.mark.parametrize(
    ("images", "labels", "input_path"),
    [
        ("images/train", "labels/train", "images/train"),
        ("images", "labels", "images"),
        ("images/images", "images/labels", "images/images"),
        ("JPEGImages", "Annotations", "JPEGImages"),
        ("images", "Annotations", "images"),
        ("images", "annotations", "images"),
        ("set", "set", "set"),
        ("images", "images", "images"),
        ("set/images", "set/labels", "set"),
        ("set/a/images/b", "set/a/labels/b", "set"),
    ],
)
def test_labels_are_found_from_the_images(data_set, images, labels, input_path):
    data_set.write({f"{labels}/x y.txt": LINE}, {f"{images}/x y.JPG": SIZE})
    assert list(data_set.of_image(input_path).values()) == [BOX]


@pytest.mark.parametrize("name", ["a.TXT", "A.txt", "sub/b.txt"])
def test_names_may_differ_in_case(data_set, name):
    image = "images/sub/B.Jpeg" if "/" in name else "images/a.JPG"
    data_set.write({f"labels/{name}": LINE}, {image: SIZE})
    assert list(data_set.of_image().values()) == [BOX]


def test_composed_and_decomposed_letters_are_the_same(data_set):
    data_set.write({f"labels/{unicodedata.normalize('NFD', 'Käfer ü')}.txt": LINE}, {"images/Käfer ü.jpg": SIZE})
    assert list(data_set.of_image().values()) == [BOX]


def test_names_may_be_in_no_encoding(data_set):
    data_set.write({"labels/b.txt": LINE}, {"images/a.jpg": SIZE})
    folders = [os.fsencode(data_set.root / name) for name in ("images", "labels")]
    os.rename(folders[0] + b"/a.jpg", folders[0] + b"/k\xe4fer.jpg")  # noqa: PTH104 (bytes)
    for name in (b"k\xe4fer", b"\xfc"):
        with open(folders[1] + b"/" + name + b".txt", "w") as file:  # noqa: PTH123 (bytes)
            file.write(LINE)
    assert list(data_set.of_image().values()) == [BOX]
    assert all(note.isprintable() for note in data_set.labels().notes)


def test_images_without_labels_and_labels_without_images_are_counted(data_set):
    files = {"labels/a.txt": "", "labels/x.txt": LINE, "labels/y.txt": LINE, "labels/classes.txt": "cat\n"}
    data_set.write(files | {"labels/README.txt": "x", "labels/.a.txt": "x"}, {f"images/{n}.jpg": SIZE for n in "abc"})
    labels = data_set.labels()
    assert labels.counts == {"labelled": 1, "unlabelled": 2, "unused_files": 2, "unused_images": 0}
    assert "for 1 of 3 images" in labels.notes[0]
    assert "2 label files of no image are not used: 'x.txt', 'y.txt'" in labels.notes[1]
    assert data_set.boxes().counts["without_boxes"] == 3


def test_two_images_of_one_label_file_are_mistakes(data_set):
    data_set.write(
        {"labels/a.txt": LINE, "labels/b.txt": LINE}, {f"images/{n}": SIZE for n in ("a.jpg", "a.png", "b.png")}
    )
    boxes = data_set.boxes()
    assert sorted(boxes.bad) == [0, 1]
    assert "labels/a.txt: belongs to several images, 'a.jpg', 'a.png'" in boxes.bad[0]
    assert boxes.counts["boxes"] == 1


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, r"target_path: no label files in '\S*labels', '\S*Annotations', '\S*annotations', '\S*images'"),
        ({"images/x.json": "{}"}, {}, "no label files in .* but 'x.json'"),
        ({"labels/b.txt": ""}, {}, r"the image has no label file in .*such as 'b.txt'. Expected 'a.txt' for 'a.jpg'"),
        ({"labels/x": ""}, {"target_path": "labels"}, r"no label files \(.xml or .txt\)"),
        ({"labels/a.txt": ""}, {"target_path": "labels", "box_format": "voc"}, r"no label files \(.xml\)"),
        ({"labels/a.txt": "", "labels/a.xml": ""}, {}, 'files of both kinds.*Expected "box_format": "voc" or "yolo"'),
        ({}, {"target_path": "none"}, r"neural_network.data.target_path: no such folder or file: '.*none'"),
        ({"a.csv": ""}, {"target_path": "a.csv"}, "is no file of labels. Expected a folder, or COCO's JSON file"),
        ({"a.json": ""}, {"target_path": "a.json", "box_format": "yolo"}, "is a JSON file, which YOLO does not have"),
        (
            {"labels/a.txt": ""},
            {"target_path": "labels", "box_format": "coco"},
            "Expected the path of COCO",
        ),
    ],
)
def test_mistakes_are_told(data_set, files, options, message):
    data_set.write(files, {"images/a.jpg": SIZE})
    with pytest.raises(DataError, match=message):
        data_set.labels(**options)


def test_of_both_kinds_those_with_the_images_names_count(data_set):
    data_set.write(
        {"labels/a.xml": annotation(one(corners=(1, 1, 5, 5)), size=""), "labels/notes.txt": ""}, {"images/a.jpg": SIZE}
    )
    assert data_set.labels().format == "VOC"
    data_set.write({"labels/a.txt": LINE})
    assert data_set.labels(box_format="yolo").format == "YOLO"
    assert data_set.labels(box_format="voc").format == "VOC"


def test_an_origin_has_a_meaning_for_voc_alone(data_set):
    data_set.write({"labels/a.txt": LINE}, {"images/a.jpg": SIZE})
    with pytest.raises(ConfigError, match=r"neural_network.data.box_origin: has no effect on labels of YOLO"):
        data_set.labels(box_origin=1)


def test_a_list_selects_images(data_set):
    data_set.write(
        {"labels/a.txt": LINE, "labels/b.txt": "x", "list.txt": "a\nc.jpg\n"}, {f"images/{n}.jpg": SIZE for n in "abc"}
    )
    labels = data_set.labels(samples="list.txt")
    assert list(labels.samples.names) == ["a.jpg", "c.jpg"]
    assert labels.numbers.tolist() == [0, 2]
    assert data_set.of_image(samples="list.txt") == {"a.jpg": BOX, "c.jpg": []}
    data_set.write({"list.txt": "c"})
    with pytest.raises(DataError, match=r"none of the images that .*list.txt' lists has a label file"):
        data_set.labels(samples="list.txt")


def test_a_list_selects_images_of_a_json(data_set):
    listed = [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate("abcz")]
    one_each = [{"image_id": i, "category_id": 0, "bbox": [1, 1, i + 1, 1]} for i in range(4)]
    document = {"images": listed, "annotations": one_each, "categories": [{"id": 0, "name": "cat"}]}
    data_set.write({"l.json": document, "list.txt": "c\na\n"}, {f"images/{n}.jpg": SIZE for n in "abcd"})
    boxes = data_set.boxes(target_path="l.json", samples="list.txt")
    assert boxes.table.corners[:, 2].tolist() == [2, 4]
    assert boxes.image_ids == (0, 2)
    data_set.write({"list.txt": "d"})
    with pytest.raises(DataError, match=r"names none of the images that .*list.txt' lists"):
        data_set.labels(target_path="l.json", samples="list.txt")
