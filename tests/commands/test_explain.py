"""`rayrml explain`, from a checkpoint and images to pictures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml import cli
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint

LAYERS = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 16, 16, 1], "name": "input"}},
    {"class_name": "Conv2D", "config": {"name": "conv", "filters": 3, "kernel_size": 3, "activation": "relu"}},
    {"class_name": "Flatten", "config": {"name": "flatten"}},
    {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "log_softmax"}},
]
READING = {"input_type": "images", "grayscale": True, "input_transforms": [{"resize": [16, 16]}]}


@pytest.fixture
def model(tmp_path):
    """A function that saves a checkpoint."""

    def save(layers=LAYERS, **fields):
        torch.manual_seed(0)
        network = build_network(layers)
        known = {"classes": ("cat", "dog"), "data": READING, "loss": {"function": "NLL"}, **fields}
        checkpoints.save(
            str(tmp_path / "model.pt"), Checkpoint(1, network.state_dict(), layers, network.input_shapes[0], **known)
        )
        return str(tmp_path / "model.pt")

    return save


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number, size in enumerate(((40, 30), (20, 60))):
        Image.fromarray(random.integers(0, 255, size, np.uint8)).save(tmp_path / "images" / f"{number}.png")
    return str(tmp_path / "images")


def test_each_image_becomes_a_picture_with_its_class(model, images, tmp_path, capsys):
    output = tmp_path / "out"
    assert cli.main(["explain", model(), images, "-o", str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layer"] == "conv"
    assert [one["path"] for one in found["images"]] == ["0.png", "1.png"]
    assert all(one["name"] in ("cat", "dog") and one["probability"] >= 0.5 for one in found["images"])
    assert sorted(path.name for path in output.iterdir()) == ["0.png", "1.png"]


def test_the_class_that_is_asked_for_is_explained(model, images, tmp_path, capsys):
    assert cli.main(["explain", model(), images, "-o", str(tmp_path / "out"), "--class", "dog", "--json"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)["images"]} == {"dog"}


def test_what_cannot_be_explained_is_one_line(model, images, capsys):
    assert cli.main(["explain", model(), images, "--class", "dgo"]) == 2
    assert "--class: there is no class 'dgo'. Did you mean 'dog'?" in capsys.readouterr().err
    masks = [LAYERS[0], {"class_name": "Conv2D", "config": {"name": "out", "filters": 2, "kernel_size": 1}}]
    assert cli.main(["explain", model(masks, classes=(), loss={"function": "CrossEntropy"}), images]) == 2
    assert "is no classifier of images: only those can be explained" in capsys.readouterr().err
    values = [*LAYERS[:-1], {"class_name": "Dense", "config": {"name": "dense", "units": 2}}]
    assert cli.main(["explain", model(values, classes=(), loss={"function": "MSE"}), images]) == 2
    assert "is no classifier of images" in capsys.readouterr().err
