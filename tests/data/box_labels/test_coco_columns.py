import json
import random

import numpy as np
import pytest

from rayrml.data.box_labels import coco, coco_columns
from rayrml.data.box_labels.coco_columns import Columns, look_up, read_columns

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}]


def _annotation(number, **keys):
    outline = [[1.5, 2.5, 30.25, 4, 5, 60.0]] if number % 3 else {"counts": [3, 4], "size": [480, 640]}
    box = [number * 0.1, 2, 30.123456789, number]
    own = {"image_id": 10 + number % 4, "category_id": (7, 90)[number % 2], "bbox": box, "id": number}
    return {"segmentation": outline, "area": 1.0, "iscrowd": int(number % 5 == 0), **own, **keys}


def _document(annotations, **keys):
    images = [{"id": 10 + i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(4)]
    return {"info": {"description": 'a "annotations": [ {'}, "images": images, "annotations": annotations, **keys}


def _read(path, monkeypatch, *, by_columns):
    with monkeypatch.context() as patch:
        if not by_columns:
            patch.setattr(coco, "read_columns", lambda content: None)
        document = coco.read(str(path))
        assert isinstance(document.annotations, Columns) == by_columns
        rows, bad = coco.join_rows(document, {12: 0, 10: 1, 13: 2})
    return document, rows, bad


@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("last", [True, False])
def test_columns_are_what_the_whole_file_says(tmp_path, monkeypatch, indent, last):
    monkeypatch.setattr(coco_columns, "_PIECE", 300)
    content = _document([_annotation(number) for number in range(50)], categories=CATEGORIES)
    if last:
        content["annotations"] = content.pop("annotations")
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False))
    document, rows, bad = _read(path, monkeypatch, by_columns=True)
    whole, expected, none = _read(path, monkeypatch, by_columns=False)
    assert bad == none == {}
    for name in ("images", "corners", "codes", "ignored", "objects"):
        own, other = getattr(rows, name), getattr(expected, name)
        assert own.dtype == other.dtype
        assert own.tobytes() == other.tobytes()
    assert (document.entries, document.names, document.category_ids) == (whole.entries, whole.names, whole.category_ids)
    assert [coco.name_object(document, i) for i in range(50)] == [coco.name_object(whole, i) for i in range(50)]


@pytest.mark.parametrize(
    "keys",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, -3, 4]},
        {"bbox": [1, 2, "3", 4]},
        {"bbox": [1, 2, True, 4]},
        {"bbox": [1, 2, float("nan"), 4]},
        {"bbox": [1, 2, 2**40, 4]},
        {"bbox": None},
        {"image_id": "11"},
        {"image_id": 11.0},
        {"image_id": 2**70},
        {"category_id": "7"},
        {"iscrowd": 2},
        {"iscrowd": "1"},
        {"id": "a"},
        {"id": None},
        {"attributes": [{"a": 1}, {"b": 2}], "area": "}, {"},
    ],
)
def test_what_is_unusual_is_read_as_a_whole(tmp_path, monkeypatch, keys):
    monkeypatch.setattr(coco_columns, "_PIECE", 1)
    annotations = [_annotation(number) for number in range(6)]
    annotations[3] |= keys
    content = json.dumps(_document(annotations, categories=CATEGORIES)).encode()
    assert read_columns(content) is None
    assert read_columns(content.replace(b'"annotations": [', b'"annotations": [1, ')) is None


def test_unknown_images_and_categories_are_told_as_ever(tmp_path, monkeypatch):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(_document([_annotation(0, category_id=8), _annotation(1)], categories=CATEGORIES)))
    _, _, bad = _read(path, monkeypatch, by_columns=True)
    assert bad == _read(path, monkeypatch, by_columns=False)[2]
    assert "category_id 8 is none of the categories" in bad[1]
    path.write_text(json.dumps(_document([_annotation(0, image_id=99)], categories=CATEGORIES)))
    with pytest.raises(Exception, match="annotation 0: image_id 99 is none of the images"):
        coco.join_rows(coco.read(str(path)), {10: 0})


@pytest.mark.parametrize("cut", ["}}", "},,{", "} {", "},\v{", "},{]", "}{,"])
def test_what_is_no_json_is_never_taken_for_some(cut, monkeypatch):
    monkeypatch.setattr(coco_columns, "_PIECE", 1)
    text = json.dumps(_document([_annotation(number) for number in range(4)], categories=CATEGORIES))
    at = text.index('}, {"segmentation"')
    assert read_columns(text.encode()) is not None
    assert read_columns((text[:at] + cut + text[at + 4 :]).encode()) is None


def test_spoiled_files_are_read_like_whole_ones_or_not_at_all(monkeypatch):
    monkeypatch.setattr(coco_columns, "_PIECE", 1)
    text = json.dumps(_document([_annotation(number) for number in range(3)], categories=CATEGORIES))
    draws = random.Random(0)
    for _ in range(2_000):
        at = draws.randrange(len(text))
        spoiled = text[:at] + draws.choice('{}[],:"\\ 1e-.x') + text[at + draws.randrange(2) :]
        read = read_columns(spoiled.encode())
        if read is not None:
            value = json.loads(spoiled)
            boxes = [annotation["bbox"] for annotation in value["annotations"]]
            assert read[1].boxes.tolist() == boxes
            assert len(read[1]) == len(boxes)
            assert read[0].keys() == value.keys()


def test_ids_are_looked_up():
    numbers = look_up({30: 0, "a": 1, -5: 2, 2**80: 3}, np.array([-5, 31, 30, 7]))
    assert numbers.tolist() == [2, -1, 0, -1]
    assert look_up({}, np.array([1])).tolist() == [-1]
