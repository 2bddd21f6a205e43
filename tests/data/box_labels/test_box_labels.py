"""Label files of all formats, against boxes that were computed by hand."""

import json

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


def check_notes(notes, labels, boxes):
    for key in ("duplicates", "cut", "empty"):
        assert boxes.counts[key] == notes.get(key, 0)
    assert labels.counts["unused_images"] == notes.get("unused_images", 0)
    if "image_ids" in notes:
        assert (
            dict(zip((f"images/{n}" for n in labels.samples.names), boxes.image_ids, strict=True)) == notes["image_ids"]
        )
        assert list(boxes.category_ids) == notes["category_ids"]
