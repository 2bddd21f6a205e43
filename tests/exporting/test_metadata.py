import json

import pytest
import torch

from rayrml.exporting.exportable import Exportable, Input, Positional, input_names, output_names, plain
from rayrml.exporting.metadata import describe
from rayrml.exporting.preprocessing import find_preprocessing
from rayrml.networks.network import build_network
from rayrml.saving.checkpoints import Checkpoint
from tests.exporting.networks import layer


def classifier(units=3, activation="linear", **fields):
    layers = [layer("InputLayer", "numbers", batch_input_shape=[None, 6])]
    layers.append(layer("Dense", "answer", units=units, activation=activation))
    return Checkpoint(7, build_network(layers).state_dict(), layers, (6,), **fields)


def described(kept, **how):
    network = build_network(kept.layers)
    exported = Exportable(network, Positional(network), (Input("numbers", (6,)),), ("answer",))
    found = describe(exported, kept, find_preprocessing(kept.data), **{"from_pixels": False, **how})
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(
    "kept, kind",
    [
        (classifier(loss={"function": "CrossEntropy"}), "logits"),
        (classifier(activation="log_softmax", loss={"function": "NLL"}), "log_softmax"),
        (classifier(activation="softmax", loss={"function": "NLL"}, classes=("a", "b", "c")), "softmax"),
        (classifier(1, "sigmoid", loss={"function": "BCE"}), "sigmoid"),
        (classifier(loss={"function": "MSE"}), "values"),
        (classifier(2, targets={"target_kind": "number", "target_column": ["x", "y"]}), "numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_kind_of_outputs_is_what_the_network_and_its_loss_make_of_them(kept, kind):
    found = described(kept)
    assert found["outputs"][0]["kind"] == kind
    assert found["inputs"] == [{"name": "numbers", "shape": ["batch", 6], "dtype": "float32"}]
    assert found["classes"] == list(kept.classes) and found["epoch"] == 7 and found["preprocessing"] is None


def test_a_detector_says_its_anchors_and_what_happens_to_boxes():
    anchors, strides = [[[10, 13], [16, 30]], [[33, 23], [30, 61]]], [8, 16]
    loss = {"function": "YOLOv3", "anchors": anchors, "strides": strides}
    found = described(
        classifier(loss=loss, detection={"nms_iou": 0.4}, data={"input_transforms": [{"letterbox": [64, 64]}]})
    )
    assert found["outputs"][0]["kind"] == "grids"
    assert found["detection"]["anchors"] == anchors and found["detection"]["strides"] == strides
    assert found["detection"]["nms_iou"] == 0.4
    assert found["preprocessing"]["steps"] == [{"letterbox": [64, 64]}, {"divide": 255}]


def test_names_are_those_of_the_layers_and_differ():
    layers = [
        layer("InputLayer", "image", batch_input_shape=[None, None, None, 3]),
        layer("Conv2D", "classes", filters=2, kernel_size=1),
    ]
    network = build_network(layers)
    assert (input_names(network), output_names(network)) == (["image"], ["classes"])
    assert plain(network).inputs[0].shape == (3, "height", "width")
    assert plain(network).inputs[0].draw(2, [16, 24], torch.Generator()).shape == (2, 3, 16, 24)
