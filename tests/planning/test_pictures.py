"""Which networks and samples make pictures, and what is said if they cannot."""

import numpy as np
import pytest
from PIL import Image

from rayrml.data.sample_geometry import SizeChange
from rayrml.errors import ConfigError
from rayrml.planning.preparation import prepare
from tests.conftest import write_jpeg

KEY = "neural_network.data.test_output_images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of 12x16 pixels in RGB, and their masks."""
    path = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        write_jpeg(path / "images" / f"{i}.jpg", np.zeros((12, 16, 3), np.uint8))
        (path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.eye(12, 16, dtype=np.uint8)).save(path / "masks" / f"{i}.png")
    return path


def network(channels, activation="linear", stride=1, padding="same", kernel=3):
    options = {"kernel_size": kernel, "strides": stride, "padding": padding, "activation": activation}
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, None, 3], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": channels, **options}},
    ]


def planned(folder, layers, loss=None, *, trains=False, **data):
    """The plan of a run with these layers that trains or predicts."""
    given = {"input_type": "images", "test_input_path": str(folder / "images"), "test_output_path": str(folder / "out")}
    section = {"layers": layers, "data": given | data}
    if trains:
        own = {"input_path": str(folder / "images"), "target_path": str(folder / "masks"), "target_grayscale": True}
        more = {"target_type": "images", "test_target_path": str(folder / "masks")}
        section = {"layers": layers, "data": given | own | more | data, "optimizer": {"type": "SGD"}}
    return prepare({"neural_network": section | ({"loss": loss} if loss else {})})


@pytest.mark.parametrize(
    ("layers", "loss", "kind"),
    [
        (network(4, "softmax"), None, "masks"),
        (network(4, "log_softmax"), None, "masks"),
        (network(4), {"function": "CrossEntropy"}, "masks"),
        (network(1, "sigmoid"), {"function": "Dice"}, "masks"),
        (network(1), {"function": "BCE", "source": "logits"}, "masks"),
        (network(1, "sigmoid"), None, "pixels"),
        (network(3, "sigmoid"), {"function": "MSE"}, "pixels"),
        (network(3), {"function": "MSE"}, None),
        (network(2, "sigmoid"), None, None),
        (network(4), None, None),
    ],
)
def test_the_ending_and_the_loss_tell_what_outputs_are(folder, layers, loss, kind):
    pictures = planned(folder, layers, loss).pictures
    assert (pictures.drawing and pictures.drawing.kind, pictures.reason) == (kind, "")


@pytest.mark.parametrize(
    ("layers", "loss", "more", "choice"),
    [
        (network(3), {"function": "CrossEntropy"}, {}, "masks"),
        (network(1, "sigmoid"), {"function": "MSE"}, {"target_is_mask": True}, "masks"),
        (network(1), {"function": "MSE"}, {}, "pixels"),
        (network(1), {"function": "MSE"}, {"target_transforms": [{"normalize": {"mean": 0.5}}]}, None),
        (network(1), {"function": "MSE"}, {"test_output_images": "none"}, "pixels"),
        (
            network(3, stride=2),
            {"function": "CrossEntropy"},
            {"target_transforms": [{"center_crop": [6, 8]}]},
            "none",
        ),
        (network(3, stride=2), {"function": "CrossEntropy"}, {"target_transforms": [{"resize": [6, 8]}]}, "masks"),
    ],
)
def test_a_checkpoint_tells_what_targets_were(folder, layers, loss, more, choice):
    assert planned(folder, layers, loss, trains=True, **more).pictures.choice == choice


def test_a_training_keeps_pictures_only_if_they_are_requested(folder):
    loss = {"function": "CrossEntropy"}
    assert not planned(folder, network(3), loss, trains=True).config.neural_network.data.draws
    assert planned(folder, network(3), loss, trains=True, test_output_images="masks").config.neural_network.data.draws
    assert planned(folder, network(3), loss).config.neural_network.data.draws
    assert not planned(folder, network(3), loss, test_output_images="none").config.neural_network.data.draws


def test_a_drawing_knows_what_happened_to_the_images(folder):
    transforms = [{"resize": [32, 48]}, {"center_crop": [24, 32]}, {"normalize": {"mean": 0.5}}]
    drawing = planned(folder, network(1, "sigmoid"), {"function": "Dice"}, input_transforms=transforms).pictures.drawing
    assert (drawing.input_size, drawing.num_classes) == ((24, 32), 2)
    assert drawing.changes == (SizeChange(False, (32, 48)), SizeChange(True, (24, 32)))


@pytest.mark.parametrize(
    ("layers", "more", "reason"),
    [
        (network(4, "softmax", padding="valid"), {}, "10x14 and 12x16 pixels, so it is not known which"),
        (network(4, "softmax"), {"input_transforms": [{"rotate": 10}]}, "not rotated back"),
    ],
)
def test_what_cannot_be_put_in_its_place_is_said_and_refused_if_requested(folder, layers, more, reason):
    plan = planned(folder, layers, **more)
    assert plan.pictures.drawing is None
    assert any("not written as pictures" in warning and reason in warning for warning in plan.warnings)
    assert not planned(folder, layers, test_output_images="none", **more).warnings
    with pytest.raises(ConfigError, match=f"{KEY}: is not possible: .*{reason}"):
        planned(folder, layers, test_output_images="masks", **more)


@pytest.mark.parametrize(
    ("layers", "kind", "complaint"),
    [
        (network(4), "pixels", "Expected 1 channel for gray images, or 3 for RGB"),
        ([*network(4), {"class_name": "Flatten", "config": {"name": "flat"}}], "masks", "has no effect: .* shape"),
    ],
)
def test_pictures_of_other_outputs_are_refused(folder, layers, kind, complaint):
    layers[0]["config"]["batch_input_shape"] = [None, 12, 16, 3]
    with pytest.raises(ConfigError, match=f"{KEY}: .*{complaint}"):
        planned(folder, layers, test_output_images=kind)


def boxes_of(folder, **data):
    """The plan of an evaluation of a network that finds boxes of one class."""
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5")
    layers = network(6, stride=8)
    layers[0]["config"]["batch_input_shape"] = [None, 32, 32, 3]
    loss = {"function": "YOLOv3", "anchors": [[4, 4]], "strides": [8]}
    return planned(folder, layers, loss, target_type="boxes", transforms=[{"letterbox": [32, 32]}], **data)


@pytest.mark.parametrize(("wanted", "kind"), [("auto", None), ("none", None), ("always", "boxes"), ("boxes", "boxes")])
def test_boxes_are_drawn_on_request(folder, wanted, kind):
    pictures = boxes_of(folder, test_output_images=wanted).pictures
    assert (pictures.drawing and pictures.drawing.kind, pictures.choice) == (kind, None)


def test_what_is_always_wanted_is_what_outputs_are_or_refused(folder):
    assert planned(folder, network(4, "softmax"), test_output_images="always").pictures.drawing.kind == "masks"
    with pytest.raises(ConfigError, match=f"{KEY}: has no effect: outputs are neither images nor boxes"):
        planned(folder, network(2, "sigmoid"), test_output_images="always")
    with pytest.raises(ConfigError, match=f"{KEY}: has no effect: outputs are not boxes"):
        planned(folder, network(4, "softmax"), test_output_images="boxes")
    with pytest.raises(ConfigError, match=f"{KEY}: has no effect: outputs are boxes, not images. Expected 'boxes'"):
        boxes_of(folder, test_output_images="masks")
