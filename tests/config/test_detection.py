"""The keys of boxes and detections."""

import pytest
from pydantic import ValidationError

from rayrml.config.detection import BoxKeys, Detection
from rayrml.config.sections import Data


def test_the_data_section_has_the_keys_of_boxes():
    assert issubclass(Data, BoxKeys)
    keys = BoxKeys(box_format="VOC", box_origin=1, classes=["a"], samples="a.txt", test_samples="b.txt")
    assert (keys.box_format, keys.box_origin) == ("voc", 1)
    assert BoxKeys() == BoxKeys(box_format="auto", box_origin="auto", classes=None)


@pytest.mark.parametrize(
    "key",
    [
        {"box_format": "pascal"},
        {"box_origin": 2},
        {"classes": []},
        {"classes": 5},
        {"classes": ["a", 3]},
        {"samples": ""},
        {"samples": ["a.jpg"]},
    ],
)
def test_wrong_values_of_boxes_are_refused(key):
    with pytest.raises(ValidationError):
        BoxKeys.model_validate(key)


@pytest.mark.parametrize(("key", "edges"), [("score_threshold", (0, 1)), ("nms_iou", (0, 1)), ("max_detections", (1,))])
def test_detections_have_limits(key, edges):
    for value in edges:
        assert getattr(Detection.model_validate({key: value}), key) == value
    for wrong in (-0.1, 1.5, "0.5", None, True):
        with pytest.raises(ValidationError):
            Detection.model_validate({key: wrong})
    assert Detection() == Detection(score_threshold=0.25, nms_iou=0.45, max_detections=300)
