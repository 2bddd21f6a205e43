"""Every example runs as its page says, on few images and for few epochs."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import rayrml
from rayrml.planning.preparation import prepare
from rayrml.saving import checkpoints
from tests.conftest import ROOT

pytestmark = pytest.mark.ray
BOXES_OF_100 = "1dafe33b9e4ff4bbd742304a012ca539a7aac925ef2e3d8418efe02b7d79f328"  # of the label files of YOLO


@pytest.fixture
def example(tmp_path, monkeypatch, ray_cluster):
    """A function that copies an example's folder, makes its images, and goes there."""

    def prepare(name, script, *arguments):
        if name not in ("volume", "poisson", "detection"):
            shutil.copytree(ROOT / "examples" / "mnist", tmp_path / "mnist")
        if name != "mnist":
            shutil.copytree(ROOT / "examples" / name, tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)

    return prepare


def test_a_small_unet_finds_the_shapes(example):
    example("segmentation", "draw.py", "--training", "160", "--testing", "16")
    result = rayrml.run("config.json", overrides={"num_epochs": 3}, quiet=True)
    assert result.metrics["dice"] > 0.95
    assert len(result.predictions) == 3


def test_tables_name_the_shapes_and_the_numbers_of_images(example):
    example("tables", "make.py", "--images", "1200")
    several = rayrml.run("several.json", overrides={"num_epochs": 5}, quiet=True)
    assert several.metrics["mean_average_precision"] > 0.9
    numbers = rayrml.run("numbers.json", overrides={"num_epochs": 5}, quiet=True)
    assert numbers.metrics["r2"] > 0.9
    (found,) = rayrml.predict("blobs_model", "blobs/0000.png", quiet=True).rows
    assert found.columns == ("x", "y", "area")


def test_a_generator_comes_nearer_to_the_digits(example):
    """After two epochs of 25; the limits leave room for other seeds."""
    example("gan", "../mnist/prepare.py")
    result = rayrml.run("config.json", overrides={"num_epochs": 2}, quiet=True)
    first, second = result.history
    assert second["wasserstein"] < 0.8 * first["wasserstein"]
    assert second["swd"] < 0.12 < first["swd"]
    made = rayrml.predict("digits_gan", output="drawn", num_samples=5, quiet=True)
    assert made.count == 5 and Path("drawn/samples.png").exists()


def test_layers_learned_from_some_digits_help_with_others(example, capsys):
    example("transfer_learning", "prepare.py")
    first = rayrml.run("first.json", overrides={"num_epochs": 1, "checkpoints.interval": 1}, quiet=True)
    load = {"checkpoints.load": first.checkpoints[0], "num_epochs": 4}
    second = rayrml.run("second.json", overrides=load)
    assert first.metrics["accuracy"] > 0.9
    assert second.metrics["accuracy"] > 0.7
    out = capsys.readouterr().out
    assert re.search(r"Unused layer first_five of the file: not found in network\n", out)
    assert re.search(r"Skipping layer last_five: not found in model; it keeps its initial weights\n", out)
    before, after = (checkpoints.load(path).network for path in (first.checkpoints[0], second.checkpoints[-1]))
    frozen = [name for name in before if not name.startswith("first_five")]
    assert len(frozen) > 8
    assert all(before[name].equal(after[name]) for name in frozen)
    optimizer = checkpoints.load(second.checkpoints[-1]).optimizer
    assert len(optimizer["state"]) == 2  # weight and bias of the one layer that is trained


def test_features_learned_by_painting_serve_a_classifier(example):
    example("inpainting", "../mnist/prepare.py")
    painted = rayrml.run("features.json", overrides={"num_epochs": 1, "checkpoints.interval": 1}, quiet=True)
    losses = [float(line.split()[3]) for line in Path("out_features_train.txt").read_text().splitlines()]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    load = {"checkpoints.load": painted.checkpoints[0], "num_epochs": 2}
    classified = rayrml.run("classifier.json", overrides=load, quiet=True)
    assert classified.metrics["accuracy"] > 0.85


def score():
    """What the example's own script says of the predictions."""
    return subprocess.run([sys.executable, "score.py"], check=True, capture_output=True, text=True).stdout


def test_a_volume_is_cut_into_bricks_labelled_and_put_together(example):
    example("volume", "make.py", "--size", "64", "64", "64", "--test-size", "40", "32", "64")
    rayrml.run("config.json", overrides={"num_epochs": 4, "data.batch_size": 4}, quiet=True)
    load = {"checkpoints.load": "volume_model/model_checkpoint_4.pt"}
    result = rayrml.run("predict.json", overrides=load, quiet=True)
    with h5py.File(result.predictions[0]) as file:
        assert file["bricks"].shape == (40, 32, 64, 4)
        assert file["bricks"].dtype == "f2"
    assert float(re.search(r"mean F1: (.*)", score())[1]) > 0.6


def test_a_solver_of_poissons_equation_beats_the_linear_guess(example):
    example("poisson", "make.py", "--training", "160", "--test", "12")
    rayrml.run("config.json", overrides={"num_epochs": 20, "data.batch_size": 8}, quiet=True)
    load = {"checkpoints.load": "poisson_model/model_checkpoint_20.pt"}
    result = rayrml.run("predict.json", overrides=load, quiet=True)
    assert result.metrics["test_loss"] > 0
    assert float(re.search(r"\((.*) times\)", score())[1]) > 1.5


def test_the_drawn_boxes_are_the_same_on_each_machine_and_are_learned(example):
    example("detection", "make.py", "--images", "100")
    labels = b"".join(path.read_bytes() for path in sorted(Path("shapes/labels").rglob("*.txt")))
    assert hashlib.sha256(labels).hexdigest() == BOXES_OF_100
    result = rayrml.run("config.json", overrides={"num_epochs": 5}, quiet=True)
    losses = [epoch["train_loss"] for epoch in result.history]
    assert losses[-1] < 0.5 * losses[0]
    assert 0 <= result.metrics["map"] <= result.metrics["map50"] <= 1
    drawn = {"data.test_output_images": "always", "detection.score_threshold": 0.01}
    found = rayrml.predict("shapes_model", "shapes/images/test", "found", overrides=drawn, quiet=True)
    images = {path.name for path in Path("shapes/images/test").iterdir()}
    assert {path.name for path in Path("found/boxes_1").iterdir()} == images == {row.path for row in found.rows}


@pytest.mark.parametrize("labels", ["annotations/{}.json", "voc/{}"])
def test_the_drawn_boxes_are_the_same_in_each_format(example, labels):
    example("detection", "make.py", "--images", "20")
    paths = {"data.target_path": "train", "data.test_target_path": "test"}
    plans = [
        prepare("config.json", {key: f"shapes/{kind.format(part)}" for key, part in paths.items()})
        for kind in ("labels/{}", labels)
    ]
    tables = [[source.samples.boxes for source in plan.sources] for plan in plans]
    for one, other in zip(*tables, strict=True):
        assert np.allclose(one.corners, other.corners, atol=1e-5)
        assert (one.classes == other.classes).all()


def test_yolov3_has_the_layers_of_darknet_and_its_outputs_are_trained_first(example):
    """Without the file of weights; tests of `darknet_weights` have small ones."""
    example("detection", "make.py", "--images", "20")
    subprocess.run([sys.executable, "yolov3.py", "--classes", "3"], check=True, capture_output=True)
    plan = prepare("yolov3.json", {"checkpoints.load": None})
    assert plan.loss.arguments["strides"] == (32, 16, 8)
    assert plan.network.output_shapes == ((24, 13, 13), (24, 26, 26), (24, 52, 52))
    of_a_channel = sum(filters + 1 for filters in (1024, 512, 256))
    of_80_classes = plan.network.num_parameters + of_a_channel * 3 * (80 - 3)
    assert of_80_classes == 62_001_757  # numbers of `yolov3.weights`, with running statistics
    convolutions = [name for name, layer in plan.network.layers().items() if hasattr(layer, "filters")]
    assert [int(name.rpartition("_")[2]) for name in convolutions] == list(range(1, 76))
    assert [name for name in convolutions if name not in plan.unfreezing] == ["boxes_59", "boxes_67", "boxes_75"]
