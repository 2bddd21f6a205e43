"""Whole runs on images of different sizes that random transforms make equal."""

import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml.saving import checkpoints
from tests.conftest import training_config

pytestmark = pytest.mark.ray

NUM_TRAINING, NUM_TEST = 19, 7
CROP = {"random_resized_crop": {"size": [28, 28], "scale": [0.3, 1]}}
SECTION = [{"random_rotate": 10}, {"color_jitter": {"brightness": 0.2}}, CROP, {"random_horizontal_flip": 0.5}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Gray images of three classes and of as many sizes as there are images."""
    path = tmp_path_factory.mktemp("sizes")
    random = np.random.default_rng(0)
    for part, count in (("training", NUM_TRAINING), ("testing", NUM_TEST)):
        for i in range(count):
            label, size = i % 3, (30 + i, 50 - i)
            (path / part / str(label)).mkdir(parents=True, exist_ok=True)
            image = random.integers(0, 60, size) + 80 * label
            Image.fromarray(image.astype(np.uint8)).save(path / part / str(label) / f"{i:02}.png")
    return path


def trained(folder, out, num_workers=1, *, resume=False, **options):
    out.mkdir(exist_ok=True)
    config = training_config(folder, out, transforms=SECTION, batch_size=4)
    result = rayrml.run(config, num_workers=num_workers, overrides=options, resume=resume, quiet=True)
    return checkpoints.load(result.checkpoints[-1]).network, result


@pytest.fixture(scope="module")
def alone(ray_cluster, folder):
    return trained(folder, folder / "alone")


def test_several_workers_train_what_one_trains(alone, folder, tmp_path):
    network, result = trained(folder, tmp_path / "out", 3)
    assert all(torch.allclose(network[name], weights, atol=1e-6) for name, weights in alone[0].items())
    for key in ("train_loss", "test_loss"):
        assert result.metrics[key] == pytest.approx(alone[1].metrics[key], rel=1e-4)


def test_a_run_that_preloads_trains_the_same_and_keeps_what_it_can(alone, folder, tmp_path, capfd):
    network, result = trained(folder, tmp_path / "out", **{"data.preload": True})
    assert all(torch.equal(network[name], weights) for name, weights in alone[0].items())
    assert result.metrics["test_loss"] == pytest.approx(alone[1].metrics["test_loss"], rel=1e-6)


def test_a_resumed_run_is_the_uninterrupted_one(alone, folder, tmp_path):
    trained(folder, tmp_path / "out", num_epochs=1)
    network, _ = trained(folder, tmp_path / "out", resume=True)
    assert all(torch.equal(network[name], weights) for name, weights in alone[0].items())


def test_each_epoch_has_other_crops(folder, tmp_path):
    _, result = trained(folder, tmp_path / "out", **{"optimizer.learning_rate": 1e-12})
    assert result.history[0]["train_loss"] != pytest.approx(result.history[1]["train_loss"], rel=1e-6)
    assert result.history[0]["test_loss"] == pytest.approx(result.history[1]["test_loss"], rel=1e-6)


@pytest.mark.parametrize("preload", [False, True])
def test_masks_stay_on_their_images(ray_cluster, tmp_path, preload):
    """Light squares on black, and masks of their pixels: a pixel's shade says its class only if both lie together."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(12):
        mask = np.zeros((40 + i, 60 - 2 * i), np.uint8)
        mask[5 + i : 20 + i, 8 : 25 + i] = 255
        Image.fromarray(mask // 255 * 200).save(tmp_path / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i:02}.png")
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1]}},
        {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": 1, "activation": "log_softmax"}},
    ]
    config = {
        "neural_network": {
            "num_epochs": 15,
            "layers": layers,
            "checkpoints": {"save": str(tmp_path / "model"), "interval": 15},
            "data": {
                "input_type": "images",
                "target_type": "images",
                "input_path": str(tmp_path / "images"),
                "target_path": str(tmp_path / "masks"),
                "target_is_mask": True,
                "input_grayscale": True,
                "transforms": SECTION,
                "batch_size": 4,
                "preload": preload,
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.5},
            "loss": {"function": "NLL"},
        }
    }
    result = rayrml.run(config, quiet=True)
    assert result.metrics["train_loss"] < 0.06
