"""Every example runs as its page says, on few images and for few epochs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

import rayrml
from rayrml.saving import checkpoints
from tests.conftest import ROOT

pytestmark = pytest.mark.ray


@pytest.fixture
def example(tmp_path, monkeypatch, ray_cluster):
    """A function that copies an example's folder, makes its images, and goes there."""

    def prepare(name, script, *arguments):
        if name not in ("volume", "poisson"):
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
