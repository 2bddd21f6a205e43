"""Evaluation without a configuration, on the session's Ray."""

import csv
import dataclasses
import json

import h5py
import numpy as np
import pytest
from PIL import Image

import rayrml
from rayrml import cli
from rayrml.errors import ConfigError, DataError
from rayrml.saving import checkpoints
from tests.conftest import training_config

pytestmark = pytest.mark.ray

TRANSFORMS = [{"random_horizontal_flip": 0.5}, {"resize": [14, 14]}, {"normalize": {"mean": 0.4, "std": 0.3}}]


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("evaluating")
    write_digits(path / "training", "training", (1, 4, 7), 10)
    write_digits(path / "testing", "testing", (1, 4, 7), 8)
    return path


@pytest.fixture(scope="module")
def trained(ray_cluster, folder):
    """A run whose network is not sure of anything yet, so that some samples are wrong."""
    config = training_config(folder, folder / "run", transforms=TRANSFORMS)
    config["neural_network"]["layers"][0]["config"]["batch_input_shape"] = [None, 14, 14, 1]
    return rayrml.run(config, overrides={"metric": "f1"}, quiet=True)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_trained_network_is_evaluated_as_its_training_evaluated_it(trained, folder, tmp_path, num_workers):
    result = rayrml.evaluate(
        folder / "run" / "model", folder / "testing", tmp_path, overrides={"ray.num_workers": num_workers}, quiet=True
    )
    best = max(trained.history, key=lambda figures: (figures["f1"], -figures["test_loss"]))
    assert result.metrics["f1"] == pytest.approx(best["f1"], abs=1e-6)
    assert result.metrics["test_loss"] == pytest.approx(best["test_loss"], abs=1e-5)
    figures = read(tmp_path, "metrics.json")
    assert figures["final"]["f1"] == pytest.approx(best["f1"], abs=1e-6)
    assert {name: row["samples"] for name, row in figures["classes"].items()} == {"1": 8, "4": 8, "7": 8}
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].split("/")[0] for row in rows] == [row["true_class"] for row in rows]
    for name, row in figures["classes"].items():
        of_class = [other for other in rows if other["true_class"] == name]
        assert row["recall"] == pytest.approx(np.mean([other["class"] == name for other in of_class]))
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"confusion_matrix.png", "predictions.png"}
    with h5py.File(tmp_path / "output_1.h5") as file:
        assert sum(len(file[name]) for name in file) == 24


def test_the_command_shows_the_figures_of_each_class(trained, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["val", str(folder / "run" / "model"), str(folder / "testing"), "metric=accuracy"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Class", "Samples", "Recall", "Precision", "F1"] in lines
    figures = read(tmp_path / "evaluation", "metrics.json")
    for name, row in figures["classes"].items():
        assert [name, "8", *(f"{row[key]:.3f}" for key in ("recall", "precision", "f1"))] in lines


@pytest.fixture(scope="module")
def masks(ray_cluster, tmp_path_factory):
    """A run on masks of light squares, which are read with the transforms of both sides."""
    path = tmp_path_factory.mktemp("masks")
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (path / kind).mkdir()
    for i in range(6):
        mask = np.zeros((40 + i, 40), np.uint8)
        mask[5 + i : 20 + i, 8:25] = 1
        Image.fromarray((mask * 150 + random.integers(0, 90, mask.shape)).astype("u1")).save(path / f"images/{i}.png")
        Image.fromarray(mask).save(path / f"masks/{i}.png")
    conv = {"name": "c", "filters": 1, "kernel_size": 1, "activation": "sigmoid"}
    config = {
        "neural_network": {
            "layers": [
                {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 32, 32, 1]}},
                {"class_name": "Conv2D", "config": conv},
            ],
            "num_epochs": 8,
            "checkpoints": {"save": str(path / "model")},
            "data": {
                "type": "images",
                "input_path": str(path / "images"),
                "target_path": str(path / "masks"),
                "test_input_path": str(path / "images"),
                "test_target_path": str(path / "masks"),
                "grayscale": True,
                "target_is_mask": True,
                "transforms": [{"resize": [32, 32]}, {"random_vertical_flip": 0.5}],
                "batch_size": 2,
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.5},
            "loss": {"function": "BCE"},
        }
    }
    return path, rayrml.run(config, quiet=True)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_masks_get_the_overlap_of_each_class(masks, tmp_path, num_workers):
    path, trained = masks
    result = rayrml.evaluate(
        path / "model",
        path / "images",
        tmp_path,
        targets=path / "masks",
        overrides={"ray.num_workers": num_workers},
        quiet=True,
    )
    best = max(trained.history, key=lambda figures: (figures["dice"], -figures["test_loss"]))
    assert result.metrics["dice"] == pytest.approx(best["dice"], abs=1e-6)
    classes = read(tmp_path, "metrics.json")["classes"]
    assert np.mean([row["dice"] for row in classes.values()]) == pytest.approx(best["dice"], abs=1e-6)
    assert sum(row["pixels"] for row in classes.values()) == 6 * 32 * 32
    with h5py.File(tmp_path / "output_1.h5") as file:
        predicted = np.stack([file[f"{i}.png"][0] > 0.5 for i in range(6)])
    assert classes["1"]["iou"] == pytest.approx(classes["1"]["dice"] / (2 - classes["1"]["dice"]))
    assert predicted.sum() == pytest.approx(classes["1"]["recall"] * classes["1"]["pixels"] / classes["1"]["precision"])


def test_targets_that_are_files_must_be_named(masks, tmp_path):
    path, _ = masks
    with pytest.raises(ConfigError, match=r"^--target-path: the network's targets are files\. Expected their folder"):
        rayrml.evaluate(path / "model", path / "images", tmp_path, quiet=True)


def test_an_older_checkpoint_of_classes_is_compared_with_the_folders(trained, folder, tmp_path):
    kept = checkpoints.load(folder / "run" / "model")
    older = dataclasses.replace(kept, targets={}, metric="")
    checkpoints.save(tmp_path / "older.pt", older)
    result = rayrml.evaluate(tmp_path / "older.pt", folder / "testing", tmp_path, quiet=True)
    assert 0 < result.metrics["accuracy"] < 1
    checkpoints.save(tmp_path / "nameless.pt", dataclasses.replace(older, loss={}))
    with pytest.raises(ConfigError, match=r"does not name its loss\. Use `--set loss\.function=NLL`"):
        rayrml.evaluate(tmp_path / "nameless.pt", folder / "testing", tmp_path, quiet=True)
    checkpoints.save(tmp_path / "unnamed.pt", dataclasses.replace(older, classes=()))
    with pytest.raises(ConfigError, match=r"does not say what its targets are"):
        rayrml.evaluate(tmp_path / "unnamed.pt", folder / "testing", tmp_path, quiet=True)


def test_prediction_refuses_targets_instead_of_ignoring_them(trained, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"target_type: has no effect: .*`rayrml evaluate`"):
        rayrml.predict(
            trained.checkpoints[-1],
            folder / "testing",
            tmp_path,
            overrides={"data.target_type": "labels"},
            quiet=True,
        )


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_checkpoint_that_is_missing_is_named_before_ray_starts(verb, tmp_path):
    with pytest.raises(DataError, match=r"no such file: '.*nothing\.pt'"):
        getattr(rayrml, verb)(tmp_path / "nothing.pt", tmp_path, tmp_path / "out", quiet=True)
