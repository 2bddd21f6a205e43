"""Whole runs on targets from tables: the same for any number of workers, resumed, evaluated and predicted."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

import rayrml
from rayrml.errors import DataError
from rayrml.saving import checkpoints

pytestmark = pytest.mark.ray
COUNT, SIZE = 90, 8
PARTS = ("train", "train", "train", "val", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of bright quarters, and tables of which quarters are bright and of how bright the image is."""
    path = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(3)
    (path / "images").mkdir()
    labels, numbers = [["file", "bright", "split"]], [["file", "mean", "left", "split"]]
    for number in range(COUNT):
        flags = random.random(3) < 0.5
        image = random.integers(0, 60, (SIZE, SIZE))
        for quarter in np.flatnonzero(flags):
            y, x = 4 * (quarter // 2), 4 * (quarter % 2)
            image[y : y + 4, x : x + 4] += 150
        name, part = f"{number:02}.png", PARTS[number % 5]
        Image.fromarray(image.astype(np.uint8)).save(path / "images" / name)
        labels.append([name, ";".join(f"q{i}" for i in np.flatnonzero(flags)), part])
        numbers.append([name, f"{image.mean() + 1000:.3f}", f"{image[:, :4].mean() / 100:.4f}", part])
    for name, rows in (("labels", labels), ("numbers", numbers)):
        with (path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return path


def configuration(folder, out, kind, units, **settings):
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, 1]}},
        {"class_name": "Flatten", "config": {}},
        {"class_name": "Dense", "config": {"units": 16, "activation": "relu"}},
        {"class_name": "Dense", "config": {"units": units}},
    ]
    several = kind == "labels"
    data = {
        "input_type": "images",
        "target_type": "table",
        "input_path": str(folder / "images"),
        "target_path": str(folder / f"{kind}.csv"),
        **({} if several else {"target_column": ["mean", "left"]}),
        "grayscale": True,
        "batch_size": 8,
        "test_batch_size": 5,
    }
    return {
        "neural_network": {
            "layers": layers,
            "num_epochs": 3,
            "data": data,
            "checkpoints": {"save": str(out / "model"), "interval": 1, "plots": False},
            "optimizer": {"type": "SGD", "learning_rate": 0.05, "momentum": 0.5},
            "loss": {"function": "BCE", "source": "logits"} if several else {"function": "MSE", "standardize": True},
            **settings,
        }
    }


@pytest.fixture(scope="module", params=[("labels", 3), ("numbers", 2)], ids=["classes", "numbers"])
def runs(request, ray_cluster, folder, tmp_path_factory):
    """The same training with one and with three workers."""
    found = {}
    for num_workers in (1, 3):
        out = tmp_path_factory.mktemp(f"{request.param[0]}_{num_workers}")
        found[num_workers] = rayrml.run(configuration(folder, out, *request.param), num_workers=num_workers, quiet=True)
    return request.param, found


def metrics_of(result):
    return json.loads((result_folder(result) / "metrics.json").read_text())


def result_folder(result):
    return Path(result.checkpoints[0]).parent


def test_the_number_of_workers_changes_nothing(runs):
    _, found = runs
    one, several = metrics_of(found[1]), metrics_of(found[3])
    for part in ("final", "best", "final_test"):
        for name in one[part].keys() - {"seconds", "classes", "columns"}:
            assert several[part][name] == pytest.approx(one[part][name], abs=1e-4), (part, name)
    for key in ("classes", "columns"):
        for column, figures in one.get(key, {}).items():
            assert several[key][column] == pytest.approx(figures, abs=1e-3, nan_ok=True)


def test_a_resumed_run_ends_like_one_that_was_not_interrupted(runs, folder, tmp_path):
    kind, found = runs
    config = configuration(folder, tmp_path, *kind)
    rayrml.run(config, overrides={"num_epochs": 2}, quiet=True)
    resumed = rayrml.run(config, resume=True, num_workers=2, quiet=True)
    for name, value in metrics_of(found[1])["final"].items():
        if name != "seconds":
            assert resumed.metrics[name] == pytest.approx(value, abs=1e-4)


def test_evaluation_shows_truth_and_prediction_of_each_file(runs, folder, tmp_path):
    kind, found = runs
    name = kind[0]
    result = rayrml.evaluate(
        result_folder(found[1]), folder / "images", tmp_path, targets=folder / f"{name}.csv", quiet=True
    )
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / f"{name}.csv").open(newline="") as file:
        table = {row["file"]: row for row in csv.DictReader(file)}
    assert [row["path"] for row in rows] == list(table)
    with h5py.File(tmp_path / "output_1.h5") as file:
        outputs = np.stack([file[row["path"]][:] for row in rows])
    figures = json.loads((tmp_path / "metrics.json").read_text())
    if name == "labels":
        assert [row["true_labels"] for row in rows] == [row["bright"] for row in table.values()]
        flags = np.array([[f"q{i}" in row["true_labels"].split(";") for i in range(3)] for row in rows])
        shown = np.array([[float(row[f"probability_q{i}"]) for i in range(3)] for row in rows])
        assert shown == pytest.approx(1 / (1 + np.exp(-outputs)), abs=1e-5)
        expected = sklearn_metrics.average_precision_score(flags, outputs)
        assert result.metrics["mean_average_precision"] == pytest.approx(expected, abs=1e-9)
        recall = sklearn_metrics.recall_score(flags, outputs > 0, average=None)
        assert [figures["classes"][f"q{i}"]["recall"] for i in range(3)] == pytest.approx(recall.tolist())
        return
    truth = np.array([[float(row[column]) for column in ("mean", "left")] for row in table.values()])
    predicted = np.array([[float(row[f"predicted_{column}"]) for column in ("mean", "left")] for row in rows])
    assert predicted == pytest.approx(outputs, rel=1e-5)  # the numbers of the HDF5 file have the table's unit, too
    errors = np.abs(truth - outputs).mean(0)
    assert result.metrics["mean_absolute_error"] == pytest.approx(errors.mean(), rel=1e-5)
    found_errors = [figures["columns"][column]["mean_absolute_error"] for column in ("mean", "left")]
    assert found_errors == pytest.approx(errors.tolist(), rel=1e-4)


def test_predictions_need_no_table(runs, folder, tmp_path):
    kind, found = runs
    result = rayrml.predict(result_folder(found[1]), folder / "images" / "00.png", tmp_path, quiet=True)
    (row,) = result.rows
    assert row.path == "00.png"
    with h5py.File(result.files[0]) as file:
        output = file["00.png"][:]
    if kind[0] == "numbers":
        assert row.columns == ("mean", "left")
        assert row.values == pytest.approx(output.tolist())
        assert row.values[0] > 900  # in the table's unit
    else:
        assert row.labels == tuple(f"q{i}" for i in np.flatnonzero(output > 0))


def test_other_columns_are_not_learned_on_top(ray_cluster, folder, tmp_path):
    config = configuration(folder, tmp_path, "numbers", 2)
    rayrml.run(config, overrides={"num_epochs": 1}, quiet=True)
    with pytest.raises(DataError, match=r"trained with \['mean', 'left'\], but now it is \['left', 'mean'\]"):
        rayrml.run(config, overrides={"data.target_column": ["left", "mean"]}, resume=True, quiet=True)


def test_a_resumed_network_keeps_the_statistics_that_it_was_trained_with(ray_cluster, folder, tmp_path, capsys):
    table = tmp_path / "numbers.csv"
    table.write_text((folder / "numbers.csv").read_text())
    config = configuration(folder, tmp_path, "numbers", 2)
    config["neural_network"]["data"]["target_path"] = str(table)
    first = rayrml.run(config, overrides={"num_epochs": 1}, quiet=True)
    before = checkpoints.load(first.checkpoints[-1]).loss["standardize"]
    header, row, *rest = table.read_text().splitlines()
    name, mean, left, part = row.split(",")
    table.write_text("\n".join([header, f"{name},{float(mean) + 500},{left},{part}", *rest]))
    resumed = rayrml.run(config, overrides={"num_epochs": 2}, resume=True)
    assert checkpoints.load(resumed.checkpoints[-1]).loss["standardize"] == before
    assert "have changed. Mean and deviation of the numbers stay those of the first epochs: " in capsys.readouterr().out


def test_the_checkpoint_keeps_what_predictions_need(runs):
    kind, found = runs
    kept = checkpoints.load(found[1].checkpoints[-1])
    if kind[0] == "numbers":
        assert kept.targets["target_column"] == ["mean", "left"]
        assert kept.loss["standardize"]["mean"][0] > 1000
    else:
        assert kept.classes == ("q0", "q1", "q2")
        assert kept.targets["target_kind"] == "classes"
