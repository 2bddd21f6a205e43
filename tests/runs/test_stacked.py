"""Complete runs on arrays that hold many samples, on the session's Ray."""

import csv
import functools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import rayrml
from rayrml.saving import checkpoints

pytestmark = pytest.mark.ray
TRAINED, TESTED = 30, 13


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


@pytest.fixture(scope="module")
def digits_in_arrays(tmp_path_factory, digits):
    """A folder with images and labels in one array each, and the same with a file for each sample."""
    path = tmp_path_factory.mktemp("stacked")
    for part, count in (("training", TRAINED), ("testing", TESTED)):
        images, labels = digits[part]
        chosen = np.flatnonzero(labels < 3)[:count]
        np.save(path / f"x_{part}.npy", (images[chosen] / 255).astype(np.float32))
        np.save(path / f"y_{part}.npy", labels[chosen].astype(np.int64))
        with h5py.File(path / f"{part}.h5", "w") as file:
            file.create_dataset("x", data=images[chosen] / 255, chunks=(8, 28, 28), compression="gzip")
            file["y"] = labels[chosen][:, None]
        for side, array in (("x", (images[chosen] / 255).astype(np.float32)), ("y", labels[chosen].astype(np.int64))):
            (path / f"{part}_{side}").mkdir()
            for i, sample in enumerate(array):
                np.save(path / f"{part}_{side}" / f"{i:07}.npy", sample)
    return path


def config(folder, out, paths, **data):
    keys = ("input_path", "target_path", "test_input_path", "test_target_path")
    return {
        "neural_network": {
            "num_epochs": 3,
            "layers": [
                layer("InputLayer", "input", batch_input_shape=[None, 28, 28, 1]),
                layer("Flatten", "flat"),
                layer("Dense", "classes", units=3, activation="log_softmax"),
            ],
            "checkpoints": {"save": str(out / "model"), "interval": 3, "plots": False},
            "data": {
                **{key: str(folder / path) for key, path in zip(keys, paths, strict=True)},
                "type": "numpy",
                "batch_size": 8,
                "test_batch_size": 5,
                "test_output_path": str(out / "predictions"),
                **data,
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.01},
            "loss": {"function": "NLL"},
        }
    }


ARRAYS = ("x_training.npy", "y_training.npy", "x_testing.npy", "y_testing.npy")
FILES = ("training_x", "training_y", "testing_x", "testing_y")
HDF5 = ("training.h5/x", "training.h5/y", "testing.h5/x", "testing.h5/y")
LABELS = {"type": None, "input_type": "numpy", "target_type": "labels"}


@pytest.fixture(scope="module")
def by_files(ray_cluster, digits_in_arrays, tmp_path_factory):
    """The runs on a file for each sample, with their weights and predictions, by (num_workers, preload)."""

    @functools.cache
    def run(num_workers, preload):
        settings = config(digits_in_arrays, tmp_path_factory.mktemp("files"), FILES, preload=preload)
        return results(rayrml.run(settings, num_workers=num_workers, quiet=True))

    return run


def results(run):
    with h5py.File(run.predictions[-1]) as file:
        outputs: dict[str, np.ndarray] = {}
        file.visititems(
            lambda name, found: outputs.update({name: found[()]} if isinstance(found, h5py.Dataset) else {})
        )
    return run, checkpoints.load(run.checkpoints[-1]).network, outputs


@pytest.mark.parametrize(
    ("paths", "data", "num_workers", "preload"),
    [
        (ARRAYS, {}, 1, True),
        (ARRAYS, {}, 2, False),
        (ARRAYS, LABELS, 2, True),
        (ARRAYS, LABELS, 1, False),
        (HDF5, {"type": "hdf5"}, 2, True),
        (HDF5, {"type": "hdf5"}, 1, False),
    ],
)
def test_one_array_trains_the_network_of_a_file_for_each_sample(
    by_files, digits_in_arrays, tmp_path, paths, data, num_workers, preload
):
    wanted, weights, outputs = by_files(num_workers, preload)
    settings = config(digits_in_arrays, tmp_path, paths, **{**data, "preload": preload})
    run, own_weights, own_outputs = results(rayrml.run(settings, num_workers=num_workers, quiet=True))
    for name, tensor in weights.items():
        assert torch.allclose(own_weights[name], tensor, atol=1e-5), name
    assert run.metrics["accuracy"] == pytest.approx(wanted.metrics["accuracy"])
    prefix = "x" if paths is HDF5 else "x_testing"
    assert own_outputs.keys() == {f"{prefix}/{i:07}" for i in range(TESTED)}
    for i in range(TESTED):
        np.testing.assert_allclose(own_outputs[f"{prefix}/{i:07}"], outputs[f"{i:07}.npy"], atol=1e-5)


def test_a_checkpoint_predicts_each_sample_of_an_array(by_files, digits_in_arrays, tmp_path):
    run, _, outputs = by_files(1, True)
    found = rayrml.predict(run.checkpoints[-1], digits_in_arrays / "x_testing.npy", tmp_path, quiet=True)
    assert found.count == TESTED
    with Path(found.table).open() as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        assert row["path"] == f"x_testing/{i:07}"
        assert row["class"] == str(outputs[f"{i:07}.npy"].argmax())


def test_a_row_that_cannot_be_used_is_skipped_by_name(ray_cluster, digits_in_arrays, tmp_path):
    array = np.load(digits_in_arrays / "x_training.npy")
    array[[3, 7], 0, 0] = np.nan
    np.save(tmp_path / "x.npy", array)
    settings = config(digits_in_arrays, tmp_path, ARRAYS, on_bad_sample="skip", preload=True)
    settings["neural_network"]["data"]["input_path"] = str(tmp_path / "x.npy")
    settings["neural_network"]["outfile"] = str(tmp_path / "out.txt")
    run = rayrml.run(settings, num_workers=2, quiet=True)
    assert run.skipped == {"training": 2, "test": 0} or run.skipped == {"training": 2}
