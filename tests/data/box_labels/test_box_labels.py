"""Label files of all formats, against boxes that were computed by hand."""

import json
import random

import numpy as np
import pytest

from rayrml.data.box_labels import make_boxes
from rayrml.errors import DataError
from tests.data.box_labels.conftest import HERE

CASES = json.loads((HERE / "formats.json").read_text())
PATHS = {"yolo": "labels", "voc": "Annotations", "coco": "annotations.json"}


def options_of(case):
    path = PATHS[case["format"]]
    own = dict(case.get("options", {}))
    if path == "labels" and not any(name.startswith("labels/") for name in case["files"]):
        path = None
    return {"target_path": path, **own}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("told", [True, False])
def test_labels_become_boxes_or_mistakes(case, told, data_set):
    data_set.write(case["files"], case["images"])
    options = options_of(case) | ({"box_format": case["format"]} if told else {})
    if "error" in case:
        with pytest.raises(DataError) as caught:
            data_set.boxes(**options).refuse_bad()
        assert all(word in str(caught.value) for word in case["error"])
        return
    labels = data_set.labels(**options)
    boxes = make_boxes(labels)
    assert not boxes.bad
    assert list(boxes.classes) == case["classes"]
    assert [f"images/{name}" for name in labels.samples.names] == list(case["expected"])
    table = boxes.table
    for image, expected in enumerate(case["expected"].values()):
        rows = slice(table.starts[image], table.starts[image + 1])
        assert table.classes[rows].tolist() == [one["class"] for one in expected]
        assert table.ignored[rows].tolist() == [one["ignored"] for one in expected]
        corners = np.array([one["box"] for one in expected]).reshape(-1, 4)
        np.testing.assert_allclose(table.corners[rows], corners, rtol=1e-5, atol=1e-6)
    check_notes(case.get("notes", {}), labels, boxes)


SPOILED = [
    b"\0",
    b"\xff",
    b"<",
    b">",
    b'"',
    b"{",
    b"[",
    b"]",
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
    b"\r",
    b"\xc3",
    b":",
    b"_",
]
FORMATS = [case for case in CASES if "expected" in case][:: len(CASES) // 8]


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("case", FORMATS, ids=[case["name"] for case in FORMATS])
def test_spoiled_files_end_in_boxes_inside_their_images_or_in_mistakes(case, seed, data_set):
    draws = random.Random(seed)
    data_set.write(case["files"], case["images"])
    name = draws.choice(list(case["files"]))
    content = case["files"][name].encode()
    for _ in range(2):
        at = draws.randrange(len(content) + 1)
        content = content[:at] + draws.choice(SPOILED) + content[at + draws.randrange(3) :]
    data_set.write({name: content})
    try:
        table = data_set.boxes(**options_of(case)).table
    except DataError as error:
        assert str(error)
    else:
        assert (table.corners >= 0).all()
        assert (table.corners[:, 2:] <= table.sizes[table.images][:, ::-1]).all()


def check_notes(notes, labels, boxes):
    for key in ("duplicates", "cut", "empty"):
        assert boxes.counts[key] == notes.get(key, 0)
    assert labels.counts["unused_images"] == notes.get("unused_images", 0)
    if "image_ids" in notes:
        assert (
            dict(zip((f"images/{n}" for n in labels.samples.names), boxes.image_ids, strict=True)) == notes["image_ids"]
        )
        assert list(boxes.category_ids) == notes["category_ids"]
