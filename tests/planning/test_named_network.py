"""What a network by name takes from the samples and the loss, and what is wrong with one."""

import copy
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.errors import ConfigError, DataError
from rayrml.planning.preparation import prepare
from tests.conftest import write_jpeg
from tests.keras_reference import keras

SMALL = "mobilenetv3small"
pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5.*")


@pytest.fixture
def config(tmp_path):
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(3):
            write_jpeg(tmp_path / "images" / name / f"{number}.jpg", random.integers(0, 255, (40, 48, 3), np.uint8))
    return {
        "neural_network": {
            "num_epochs": 10**4,  # enough for batch normalization
            "layers": {"network": SMALL},
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": str(tmp_path / "images"),
                "input_transforms": [{"normalize": {"std": 0.00392}}],
            },
            "optimizer": {"type": "SGD"},
            "loss": {"function": "NLL"},
        }
    }


def changed(config, **changes):
    """A copy with other values in the section of the network."""
    return {"neural_network": copy.deepcopy(config["neural_network"]) | changes}


def mistakes(config, error=ConfigError):
    with pytest.raises(error) as caught:
        prepare(config)
    return [str(problem) for problem in caught.value.problems]


def test_input_classes_and_activation_are_those_of_the_samples_and_the_loss(config):
    plan = prepare(config)
    expected = {"network": SMALL, "input": (40, 48, 3), "classes": 2, "activation": "log_softmax", "dropout": 0.2}
    assert plan.config.neural_network.layers == expected
    assert plan.network.input_shapes == ((3, 40, 48),)
    assert plan.network.output_shapes == ((2,),)
    assert plan.layers["config"]["layers"][-1]["config"]["activation"] == "log_softmax"
    assert not plan.warnings


@pytest.mark.parametrize(
    ("loss", "classes", "activation"),
    [
        ({"function": "CrossEntropy"}, 2, "linear"),
        ({"function": "Focal"}, 2, "softmax"),
        ({"function": "BCE"}, 1, "sigmoid"),
        ({"function": "BCE", "source": "logits"}, 1, "linear"),
    ],
)
def test_a_network_by_name_ends_as_the_loss_expects(config, loss, classes, activation):
    plan = prepare(changed(config, loss=loss))
    section = plan.config.neural_network.layers
    assert (section["classes"], section["activation"]) == (classes, activation)
    assert not plan.warnings


def test_numbers_of_a_table_are_as_many_outputs_without_an_activation(config, tmp_path):
    rows = [f"{name}/{number}.jpg,{number},{number / 2}" for name in ("cat", "dog") for number in range(3)]
    (tmp_path / "table.csv").write_text("\n".join(["file,x,y", *rows]))
    data = {**config["neural_network"]["data"], "target_type": "table", "target_path": str(tmp_path / "table.csv")}
    data |= {"target_kind": "number", "target_column": ["x", "y"]}
    section = prepare(changed(config, data=data, loss={"function": "MSE"})).config.neural_network.layers
    assert (section["classes"], section["activation"]) == (2, "linear")


def test_given_keys_count(config):
    layers = {"network": SMALL, "input": [64, 64, 3], "classes": 2, "activation": "softmax"}
    plan = prepare(changed(config, layers=layers))
    assert plan.network.declared_shapes == ((3, 64, 64),)
    assert any("ends with softmax" in warning for warning in plan.warnings)
    (mistake,) = mistakes(changed(config, layers={"network": SMALL, "classes": 5}))
    assert "outputs 5 values per sample, but there are 2 classes" in mistake


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"network": "mobilenetv3"}, 'neural_network.layers.network: unknown name "mobilenetv3". Did you mean'),
        ({"network": SMALL, "clases": 2}, "neural_network.layers.clases: unknown key. Did you mean 'classes'?"),
        ({"network": SMALL, "input": [40, 3]}, "neural_network.layers.input: mobilenetv3small takes images"),
    ],
)
def test_mistakes_are_told_with_their_place(config, layers, message):
    (mistake,) = mistakes(changed(config, layers=layers))
    assert mistake.startswith(message)


def test_without_a_loss_the_activation_must_be_said(config):
    section = config["neural_network"]
    data = {"input_type": "images", "test_input_path": section["data"]["input_path"]}
    wrong = {"neural_network": {"layers": {"network": SMALL, "classes": 2}, "data": data}}
    assert "neural_network.layers.activation: this key is missing" in mistakes(wrong)[0]


def test_masks_do_not_tell_how_many_classes_there_are(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            pixels = np.full((32, 32, 3) if folder == "images" else (32, 32), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    data = {"type": "images", "input_path": str(tmp_path / "images"), "target_path": str(tmp_path / "masks")}
    data |= {"target_grayscale": True, "target_is_mask": True}
    section = {"data": data, "optimizer": {"type": "SGD"}, "loss": {"function": "CrossEntropy"}}
    wrong = {"neural_network": {**section, "layers": {"network": "unet", "filters": 4}}}
    message = "neural_network.layers.classes: this key is missing, and the largest number in 3 of the masks is 2"
    assert mistakes(wrong)[0].startswith(message)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of a network with 5 classes, made by Keras after others, whose numbers its names continue."""
    folder = tmp_path_factory.mktemp("weights")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.applications.MobileNetV3Small(weights=None, input_shape=(40, 48, 3), classes=2)
        model = keras.applications.MobileNetV3Small(weights=None, input_shape=(40, 48, 3), classes=5)
        model.save(folder / "model.h5")
        model.save_weights(folder / "model.weights.h5")
    return folder


@pytest.mark.parametrize("name", ["model.h5", "model.weights.h5"])
def test_weights_are_loaded_by_name_and_a_last_layer_for_other_classes_keeps_its_own(config, weights, name):
    layers = {"network": SMALL, "weights": str(weights / name)}
    plan = prepare(changed(config, layers=layers))
    same = prepare(
        changed(
            config,
            layers={**layers, "classes": 5, "activation": "softmax"},
            loss=None,
            optimizer=None,
            data={"input_type": "images", "test_input_path": config["neural_network"]["data"]["input_path"]},
        )
    )
    assert plan.loaded is not None and plan.loaded.differing == ("logits",)
    assert [line for line in plan.loaded.lines() if "logits" in line] == plan.loaded.lines()
    assert same.loaded is not None and not same.loaded.lines()
    body = {name: value for name, value in plan.network.state_dict().items() if not name.startswith("logits")}
    assert all(torch.equal(value, same.network.state_dict()[name]) for name, value in body.items())


def test_weights_of_another_network_and_those_beside_a_checkpoint_are_refused(config, weights):
    path = str(weights / "model.h5")
    (mistake,) = mistakes(changed(config, layers={"network": "resnet18", "weights": path}))
    assert mistake.startswith(f"neural_network.layers.weights: nothing in '{path}' fits the network")
    both = changed(config, layers={"network": SMALL, "weights": path}, checkpoints={"load": path})
    assert "has no effect beside checkpoints.load" in mistakes(both)[0]
    lost = changed(config, layers={"network": SMALL, "weights": "nowhere.h5"})
    assert "neural_network.layers.weights: no such file" in mistakes(lost, DataError)[0]


def test_a_network_that_is_not_trained_needs_all_of_its_weights(config, weights):
    data = {"input_type": "images", "test_input_path": config["neural_network"]["data"]["input_path"]}
    layers = {"network": SMALL, "weights": str(weights / "model.h5"), "classes": 3, "activation": "softmax"}
    wrong = {"neural_network": {"layers": layers, "data": data}}
    assert "lacks 'logits', which keeps its initial weights" in mistakes(wrong)[0]
