import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from rayrml.data.box_labels import make_boxes
from rayrml.errors import DataError
from tests.data.box_labels.conftest import HERE
from tests.data.box_labels.test_voc import annotation, one

EXIF = json.loads((HERE / "exif.json").read_text())
LINE = "1 0.5 0.5 0.25 0.5"


@pytest.mark.parametrize("case", EXIF, ids=[f"orientation {case['orientation']}" for case in EXIF])
@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_labels_of_stored_pixels_turn_with_their_image(data_set, case, kind):
    """Only a quarter turn shows in the size; YOLO's shares are of the upright image."""
    (height, width), (xmin, ymin, xmax, ymax) = case["stored"], case["box"]
    files = {
        "coco.json": {
            "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]}],
            "categories": [{"id": 1, "name": "cat"}],
        },
        "voc/a.xml": annotation(
            one(corners=(xmin + 1, ymin + 1, xmax, ymax)),
            size=f"<size><width>{width}</width><height>{height}</height></size>",
        ),
        "yolo/a.txt": "0 0.5 0.5 1 1",
    }
    data_set.write(files, {"images/a.jpg": (height, width, case["orientation"])})
    boxes = data_set.boxes(target_path={"coco": "coco.json"}.get(kind, kind))
    quarter = case["orientation"] >= 5
    assert boxes.table.sizes.tolist() == [case["upright"]]
    if kind == "yolo":
        assert boxes.table.corners.tolist() == [[0, 0, *case["upright"][::-1]]]
        assert boxes.counts["turned"] == 0
        return
    expected = case["upright_box"] if quarter else case["box"]
    assert boxes.table.corners.tolist() == [expected]
    assert boxes.counts["turned"] == int(quarter)
    assert any("of the pixels as stored" in note for note in boxes.notes) == quarter


def test_a_turned_box_surrounds_the_same_pixels(data_set):
    stored = np.zeros((60, 100, 3), np.uint8)
    stored[10:30, 40:90] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (data_set.root / "images").mkdir()
    Image.fromarray(stored).save(data_set.root / "images/a.png", exif=exif)
    size = "<size><width>100</width><height>60</height></size>"
    data_set.write({"labels/a.xml": annotation(one(corners=(41, 11, 90, 30)), size=size)})
    xmin, ymin, xmax, ymax = data_set.boxes().table.corners[0].astype(int)
    with Image.open(data_set.root / "images/a.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert (upright[ymin:ymax, xmin:xmax] == 255).all()
    assert upright.sum() == upright[ymin:ymax, xmin:xmax].sum()


def test_sizes_that_do_not_tell_are_mentioned(data_set):
    size = "<size><width>{}</width><height>{}</height></size>"
    sizes = {"a": (10, 20, 6), "b": (10, 10, 6), "c": (10, 20, 3), "d": (10, 20, 1)}
    files = {
        f"labels/{n}.xml": annotation(one(corners=(1, 1, 9, 9)), size=size.format(w, h))
        for n, (h, w, _) in sizes.items()
    }
    boxes = data_set.write(files, {f"images/{name}.jpg": own for name, own in sizes.items()}).boxes()
    assert boxes.counts["turned"] == 1
    assert "2 more images turned by Exif, of sizes that do not tell whether labels are" in boxes.notes[-1]


def test_an_image_that_cannot_be_read_is_bad(data_set):
    data_set.write({"labels/a.txt": LINE, "images/a.jpg": "no image", "labels/b.txt": LINE}, {"images/b.jpg": (10, 10)})
    boxes = data_set.boxes()
    assert "a.jpg: cannot be read. It is not an image" in boxes.bad[0]
    assert boxes.table.starts.tolist() == [0, 0, 1]
    assert boxes.table.sizes.tolist() == [[0, 0], [10, 10]]
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read"):
        boxes.refuse_bad()


def test_a_part_has_the_boxes_of_its_images(data_set):
    names = [f"{i}" for i in range(6)]
    files = {f"labels/{name}.txt": f"{i} 0.5 0.5 0.{i + 1} 0.5\n" * (i % 3) for i, name in enumerate(names)}
    files["labels/5.txt"] = "wrong"
    data_set.write(files, {f"images/{name}.jpg": (10, 10 + int(name)) for name in names})
    labels = data_set.labels()
    whole = make_boxes(labels)
    chosen = [2, 1, 4, 5]
    part = make_boxes(labels.take(chosen), labels.classes)
    expected = whole.table.select(chosen)
    for name in ("corners", "classes", "ignored", "starts", "sizes"):
        assert np.array_equal(getattr(part.table, name), getattr(expected, name))
    assert list(part.bad) == [3]
    assert part.table.corners.dtype == np.float64
    assert part.table.classes.dtype == part.table.sizes.dtype == np.int32
    assert part.table.starts.dtype == np.int64
    assert len(make_boxes(labels.take([])).table) == 0
    assert whole.table.select([4, 4]).counts.tolist() == [1, 1]


def test_classes_of_the_test_go_by_name_whatever_their_numbers(data_set):
    data_set.write({"data.yaml": "names: [dog, cow, cat]\n", "labels/a.txt": LINE}, {"images/a.jpg": (10, 10)})
    assert data_set.boxes(known=("cat", "cow", "dog")).table.classes.tolist() == [1]
    assert data_set.boxes(known=("cow",)).table.classes.tolist() == [0]
    assert data_set.boxes(known=("0", "1", "2")).table.classes.tolist() == [1]
    bad = data_set.boxes(known=("cat", "dog")).bad
    assert "labels/a.txt, line 1: class 'cow' is unknown. Expected one of 'cat', 'dog'" in bad[0]


def test_numbers_without_names_are_those_of_training(data_set):
    data_set.write({"labels/a.txt": LINE}, {"images/a.jpg": (10, 10)})
    assert data_set.boxes(known=("cat", "dog")).table.classes.tolist() == [1]
    assert "class 1 is unknown. Expected 0, as there is 1 class" in data_set.boxes(known=("cat",)).bad[0]


def test_many_cut_boxes_raise_a_question(data_set):
    lines = "".join(f"0 0.9 0.{i} 0.4 0.1\n" for i in range(10, 25))
    boxes = data_set.write({"labels/a.txt": lines}, {"images/a.jpg": (100, 100)}).boxes()
    assert boxes.counts["cut"] == 15
    assert any("15 boxes cut at the edges of the image. That is more than half" in note for note in boxes.notes)


@pytest.mark.parametrize("kind", ["yolo", "coco", "voc"])
def test_a_class_of_the_test_that_training_lacks_is_named(data_set, kind):
    box = {"xmin": 1, "ymin": 2, "xmax": 5, "ymax": 6}
    numbers = "".join(f"<{key}>{value}</{key}>" for key, value in box.items())
    files = {
        "yolo": {"labels/a.txt": "0 0.5 0.5 0.1 0.1\n", "labels/classes.txt": "bird"},
        "voc": {
            "labels/a.xml": f"<annotation><object><name>bird</name><bndbox>{numbers}</bndbox></object></annotation>"
        },
        "coco": {
            "labels/a.json": {
                "images": [{"id": 4, "file_name": "a.jpg"}],
                "annotations": [{"id": 0, "image_id": 4, "category_id": 0, "bbox": [1, 2, 3, 4]}],
                "categories": [{"id": 0, "name": "bird"}],
            }
        },
    }
    boxes = data_set.write(files[kind], {"images/a.jpg": (10, 10)}).boxes(known=("cat", "dog"), target_path="labels")
    assert "labels/a." in boxes.bad[0] and "class 'bird' is unknown. Expected one of 'cat', 'dog'" in boxes.bad[0]
    assert not len(boxes.table.corners)
