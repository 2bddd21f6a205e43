"""Whole predictions whose workers write shards, against those of one writer."""

import h5py
import numpy as np
import pytest
import torch

import rayrml
from rayrml.errors import DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import datasets_of, dense_network

pytestmark = pytest.mark.ray

READING = {"input_type": "images", "grayscale": True, "input_transforms": [], "slicers": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a network that tells three classes apart."""
    path, layers = tmp_path_factory.mktemp("model") / "model.pt", dense_network(3)
    torch.manual_seed(0)
    network = build_network(layers)
    kept = {"classes": ("1", "4", "7"), "data": READING, "loss": {"function": "NLL"}}
    checkpoints.save(path, Checkpoint(1, network.state_dict(), layers, network.input_shapes[0], **kept))
    return str(path)


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_digits):
    """24 digits and two files that are no images."""
    folder = write_digits(tmp_path_factory.mktemp("digits") / "testing", "testing", (1, 4, 7), 8)
    (folder / "1" / "0000_damaged.jpg").write_bytes(b"no image")
    (folder / "7" / "empty.jpg").touch()
    return folder


def predicted(model, images, out, num_workers, **data):
    """The result of a prediction in small tasks."""
    overrides = {"data.on_bad_sample": "skip", "data.test_batch_size": 6, "ray.num_workers": num_workers}
    return rayrml.predict(
        model, images, out, overrides=overrides | {f"data.{key}": data[key] for key in data}, quiet=True
    )


def attributes_of(path):
    with h5py.File(path) as file:
        return {name: list(value) for name, value in file.attrs.items() if name != "shards"}


@pytest.mark.parametrize(("num_workers", "shards"), [(1, "keep"), (2, "merge"), (3, "keep")])
def test_shards_hold_what_one_writer_wrote(ray_cluster, model, images, tmp_path, num_workers, shards):
    one = predicted(model, images, tmp_path / "one", num_workers)
    other = predicted(model, images, tmp_path / "shards", num_workers, hdf5_shards=shards)
    assert (one.count, one.skipped) == (other.count, other.skipped) == (24, 2)
    assert one.rows == other.rows
    assert (tmp_path / "one" / "predictions.csv").read_bytes() == (tmp_path / "shards" / "predictions.csv").read_bytes()
    assert other.files == (str(tmp_path / "shards" / "output_1.h5"),)
    with h5py.File(one.files[0]) as whole, h5py.File(other.files[0]) as found:
        assert [(key, list(whole[key])) for key in whole] == [(key, list(found[key])) for key in found]
        for name, output in datasets_of(one.files[0]).items():
            assert (found[name][()].tobytes(), found[name].dtype) == (output.tobytes(), output.dtype)
    assert attributes_of(one.files[0]) == attributes_of(other.files[0])
    assert (tmp_path / "shards" / "output_1_shards").exists() is (shards == "keep")


def test_bad_samples_end_the_run_after_the_others_are_merged(ray_cluster, model, images, tmp_path):
    with pytest.raises(DataError, match="2 of 26 samples have no prediction; the other 24 have one"):
        predicted(model, images, tmp_path, 2, hdf5_shards="merge", on_bad_sample="error")
    assert len(datasets_of(tmp_path / "output_1.h5")) == 24
    assert not (tmp_path / "output_1_shards").exists()


def test_pictures_and_shards_are_written_side_by_side(ray_cluster, images, tmp_path):
    layers = [dense_network(1)[0], {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": 1}}]
    network = build_network(layers)
    checkpoints.save(
        tmp_path / "masks.pt",
        Checkpoint(1, network.state_dict(), layers, network.input_shapes[0], data=READING, loss={"function": "MSE"}),
    )
    found = predicted(
        tmp_path / "masks.pt", images, tmp_path / "out", 2, hdf5_shards="keep", test_output_images="masks"
    )
    assert len(list((tmp_path / "out" / "masks_1").rglob("*.png"))) == 24
    assert np.stack(list(datasets_through_links(found.files[0]))).shape == (24, 2, 28, 28)


def datasets_through_links(path):
    with h5py.File(path) as file:
        for group in file.values():
            yield from (item[()] for item in group.values())
