"""Whole runs of networks by name, that start from weights of a file."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml.networks.families import choose_network
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights

pytestmark = pytest.mark.ray

NETWORK = {"network": "unet", "filters": 4, "depth": 2, "normalization": "group"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images with light squares, the masks of these, and weights of the same network for three classes."""
    path = tmp_path_factory.mktemp("named")
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (path / kind).mkdir()
    for number in range(14):
        image, mask = random.integers(0, 80, (24, 32)), np.zeros((24, 32))
        row, column = random.integers(0, 14, 2)
        image[row : row + 10, column : column + 10] += 120
        mask[row : row + 10, column : column + 10] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            Image.fromarray(pixels.astype(np.uint8)).save(path / kind / f"{number:02}.png")
    torch.manual_seed(1)
    other = build_network(choose_network({**NETWORK, "input": [24, 32, 1], "classes": 3}, "").layers())
    export_weights(other, path / "other.weights.h5")
    return path


def configuration(folder, out, **layers):
    data = {"type": "images", "grayscale": True, "input_path": str(folder / "images"), "test_share": 0.3}
    data |= {"target_path": str(folder / "masks"), "target_is_mask": True, "batch_size": 4}
    return {
        "neural_network": {
            "layers": {**NETWORK, "classes": 1, "weights": str(folder / "other.weights.h5"), **layers},
            "num_epochs": 2,
            "data": data,
            "optimizer": {"type": "SGD", "learning_rate": 0.1},
            "loss": {"function": "BCE"},
            "checkpoints": {"save": str(out / "model"), "interval": 1},
        }
    }


def trained(config, num_workers=1, *, resume=False, **options):
    result = rayrml.run(config, num_workers=num_workers, overrides=options, resume=resume, quiet=True)
    return checkpoints.load(result.checkpoints[-1]), result


@pytest.fixture(scope="module")
def alone(ray_cluster, folder):
    return trained(configuration(folder, folder / "alone"))


def test_several_workers_train_what_one_trains(alone, folder, tmp_path):
    checkpoint, result = trained(configuration(folder, tmp_path), 2)
    assert all(torch.allclose(checkpoint.network[name], w, atol=1e-5) for name, w in alone[0].network.items())
    assert result.metrics["test_loss"] == pytest.approx(alone[1].metrics["test_loss"], rel=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(alone, folder, tmp_path):
    trained(configuration(folder, tmp_path), num_epochs=1)
    checkpoint, _ = trained(configuration(folder, tmp_path), resume=True)
    assert all(torch.equal(checkpoint.network[name], weights) for name, weights in alone[0].network.items())


def test_the_recorded_configuration_repeats_the_run(alone, folder, tmp_path):
    config = json.loads((folder / "alone" / "model" / "config.resolved.json").read_text())
    config["neural_network"]["checkpoints"]["save"] = str(tmp_path / "model")
    checkpoint, _ = trained(config)
    assert all(torch.equal(checkpoint.network[name], weights) for name, weights in alone[0].network.items())


def test_a_checkpoint_has_the_layers_and_predicts_without_the_name(alone, folder, tmp_path):
    assert alone[0].layers["config"]["name"] == "unet"
    result = rayrml.predict(alone[1].checkpoints[-1], folder / "images", tmp_path / "predictions", quiet=True)
    assert (tmp_path / "predictions").exists() and result is not None


def test_a_resumed_run_cannot_have_another_network(alone, folder):
    with pytest.raises(rayrml.ConfigError, match="the network is not that of"):
        trained(configuration(folder, folder / "alone", filters=8, weights=None), resume=True)
