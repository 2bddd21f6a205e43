"""Whole runs of networks that find objects."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import rayrml
from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.box_matching import Detections, Truths
from rayrml.saving import checkpoints
from tests.conftest import datasets_of

pytestmark = pytest.mark.ray

CLASSES = ("disc", "bar")
TERMS = ("box_loss", "object_loss", "no_object_loss", "class_loss")
NETWORK = [
    {"class_name": "InputLayer", "config": {"name": "image", "batch_input_shape": [None, 32, 32, 3]}},
    *(
        layer
        for number, filters in enumerate((8, 16, 16), 1)
        for layer in (
            {
                "class_name": "Conv2D",
                "config": {
                    "name": f"conv_{number}",
                    "filters": filters,
                    "kernel_size": 3,
                    "strides": 2,
                    "padding": "same",
                },
            },
            {"class_name": "BatchNormalization", "config": {"name": f"norm_{number}", "momentum": 0.8}},
            {"class_name": "LeakyReLU", "config": {"name": f"leaky_{number}"}},
        )
    ),
    {"class_name": "Conv2D", "config": {"name": "grid", "filters": 14, "kernel_size": 1}},
]


def draw(folder, part, count, seed):
    """Images of 48 x 40 pixels with up to three rectangles, red or blue, and label files of YOLO."""
    random = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True)
    for number in range(count):
        pixels = np.full((40, 48, 3), 90, np.uint8)
        lines = []
        for _ in range(number % 4):
            kind = int(random.integers(2))
            width, height = (int(random.integers(10, 18)), int(random.integers(10, 18)))
            x, y = int(random.integers(0, 48 - width)), int(random.integers(0, 40 - height))
            pixels[y : y + height, x : x + width] = (250, 30, 30) if kind else (30, 30, 250)
            middle = (x + width / 2) / 48, (y + height / 2) / 40
            lines.append(f"{kind} {middle[0]} {middle[1]} {width / 48} {height / 40}\n")
        Image.fromarray(pixels).save(folder / "images" / part / f"{number:02}.png")
        if lines:
            (folder / "labels" / part / f"{number:02}.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("\n".join(CLASSES))


def configuration(folder, out, **changes):
    data = {
        "input_type": "images",
        "target_type": "boxes",
        "input_path": str(folder / "images" / "train"),
        "test_input_path": str(folder / "images" / "test"),
        "batch_size": 7,
        "test_batch_size": 5,
        "test_output_path": str(out / "predictions"),
        "transforms": [{"letterbox": [32, 32]}, {"random_horizontal_flip": 0.5}, {"jitter_crop": 0.2}, {"mosaic": 0.3}],
    }
    network = {
        "layers": NETWORK,
        "num_epochs": 2,
        "data": {**data, **changes.pop("data", {})},
        "optimizer": {"type": "SGD", "learning_rate": 0.002, "momentum": 0.9},
        "loss": {"function": "YOLOv3"},
        "checkpoints": {"save": str(out / "model")},
        **changes,
    }
    return {"neural_network": network}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    draw(folder, "train", 19, seed=0)
    draw(folder, "test", 9, seed=1)
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("trained")
    return out, rayrml.run(configuration(folder, out), quiet=True)


def test_a_run_leaves_plots_of_what_it_found(trained):
    names = {path.stem for path in (trained[0] / "model" / "plots").iterdir()}
    assert {"loss", "metric", "precision_recall", "predictions"} <= names
    figures = json.loads((trained[0] / "model" / "metrics.json").read_text())["classes"]
    assert set(figures["bar"]) == {"boxes", "average_precision", "average_precision_50", "precision", "recall"}


def figures(run):
    names = ("train_loss", *TERMS, "test_loss", "map", "map50")
    return [[h[name] for name in names] for h in run.history]


@pytest.fixture(scope="module")
def preloaded(folder, tmp_path_factory, ray_cluster):
    out = tmp_path_factory.mktemp("preloaded")
    return rayrml.run(configuration(folder, out, data={"preload": True}), quiet=True)


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_workers_learns_the_same_from_images_that_they_keep(folder, preloaded, tmp_path, size):
    several = rayrml.run(configuration(folder, tmp_path, data={"preload": True}), num_workers=size, quiet=True)
    np.testing.assert_allclose(figures(several), figures(preloaded), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_workers_learns_the_same(folder, trained, tmp_path, size):
    """Random transforms, mosaics of the global batch, batches without a part for each worker: all are the same."""
    several = rayrml.run(configuration(folder, tmp_path), num_workers=size, quiet=True)
    np.testing.assert_allclose(figures(several), figures(trained[1]), rtol=1e-3, atol=1e-5)


def test_preloaded_images_learn_in_the_batches_of_each_epoch_with_their_boxes(folder, tmp_path):
    """Without random transforms a batch of all images is the same, wherever they come from and whoever has them."""
    data = {"transforms": [{"letterbox": [32, 32]}], "batch_size": 19}
    runs = [
        rayrml.run(configuration(folder, tmp_path / str(number), data={**data, **keys}), num_workers=size, quiet=True)
        for number, (keys, size) in enumerate([({}, 1), ({"preload": True}, 2)])
    ]
    np.testing.assert_allclose(figures(runs[0]), figures(runs[1]), rtol=1e-3, atol=1e-5)


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(folder, trained, tmp_path):
    rayrml.run(configuration(folder, tmp_path, num_epochs=1), quiet=True)
    resumed = rayrml.run(configuration(folder, tmp_path), resume=True, quiet=True)
    assert figures(resumed) == figures(trained[1])


def test_the_log_s_figure_is_that_of_the_written_detections(folder, trained):
    """In pixels of the images as they are on the disk, whatever the transforms did."""
    out, run = trained
    written = datasets_of(out / "predictions" / "output_2.h5")
    rows = DetectionRows(2)
    for number, (name, found) in enumerate(sorted(written.items())):
        path = folder / "labels" / "test" / name.replace(".png", ".txt")
        lines = np.array([line.split() for line in path.read_text().splitlines()] if path.exists() else [], float)
        lines = lines.reshape(-1, 5)
        middle, size = lines[:, 1:3] * (48, 40), lines[:, 3:] * (48, 40)
        corners = np.concatenate([middle - size / 2, middle + size / 2], 1)
        truths = Truths(corners, lines[:, 0].astype(int), np.zeros(len(lines), bool), np.array([0, len(lines)]))
        rows.add(np.array([number]), Detections(found, np.array([0, len(found)])), truths)
        assert (found[:, :4] >= 0).all() and (found[:, [0, 2]] <= 48).all() and (found[:, [1, 3]] <= 40).all()
    expected = average_precisions(rows.rows, rows.counts, 0.25)
    assert (run.history[-1]["map"], run.history[-1]["map50"]) == (expected.map, expected.map50)


def test_a_checkpoint_evaluates_and_predicts_as_its_training_did(folder, trained, tmp_path):
    out, run = trained
    for size in (1, 3):
        found = rayrml.evaluate(
            run.checkpoints[-1],
            folder / "images" / "test",
            tmp_path / f"evaluation{size}",
            overrides={"ray.num_workers": size},
            quiet=True,
        )
        assert found.metrics["map"] == run.history[-1]["map"]
        assert found.metrics["test_loss"] == pytest.approx(run.history[-1]["test_loss"], rel=1e-5)
    kept = checkpoints.load(run.checkpoints[-1])
    assert kept.detection == {"score_threshold": 0.25, "nms_iou": 0.45, "max_detections": 300}
    predicted = rayrml.predict(
        run.checkpoints[-1],
        folder / "images" / "test",
        tmp_path / "predicted",
        overrides={"detection.score_threshold": 0.05, "data.test_output_images": "always"},
        quiet=True,
    )
    ours, theirs = datasets_of(predicted.files[0]), datasets_of(out / "predictions" / "output_2.h5")
    for name, rows in theirs.items():
        np.testing.assert_allclose(ours[name], rows[rows[:, 4] >= 0.05][: len(ours[name])], rtol=1e-4, atol=1e-3)
    drawn = (tmp_path / "predicted" / "boxes_1").iterdir()
    assert {path.stem for path in drawn} == {name.removesuffix(".png") for name in ours}
    with (tmp_path / "predicted" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["path"] for line in lines} == set(ours)
    results = json.loads((tmp_path / "predicted" / "detections.json").read_text())
    assert len(results) == sum(map(len, ours.values()))
    assert {result["category_id"] for result in results} <= {1, 2}
