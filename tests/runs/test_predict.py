"""Prediction without a configuration, on the session's Ray."""

import csv
import re

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml import cli
from rayrml.config.sections import Data
from rayrml.data.reader_keys import describe_reading
from rayrml.data.readers import READERS
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import dense_network, training_config, write_jpeg

pytestmark = pytest.mark.ray

CLASSES = ("1", "4", "7")
TRANSFORMS = [{"random_horizontal_flip": 0.5}, {"normalize": {"mean": 0.4, "std": 0.3}}]
READING = {
    "input_type": "images",
    "grayscale": True,
    "scale": None,
    "pages": None,
    "input_transforms": TRANSFORMS,
    "slicers": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("predicting")
    write_digits(path / "training", "training", (1, 4, 7), 4)
    write_digits(path / "testing", "testing", (1, 4, 7), 8)
    return path


@pytest.fixture(scope="module")
def trained(ray_cluster, folder):
    """A checkpoint of a run whose transforms are random, except the last."""
    config = training_config(folder, folder / "run", transforms=TRANSFORMS)
    overrides = {"num_epochs": 1, "data.test_input_path": None, "data.test_output_path": None}
    return rayrml.run(config, overrides=overrides, quiet=True).checkpoints[0]


def saved(path, layers, **fields):
    torch.manual_seed(0)
    network = build_network(layers)
    checkpoints.save(path, Checkpoint(1, network.state_dict(), layers, network.input_shapes[0], **fields))
    return path


def by_hand(checkpoint, files):
    """Probabilities (N, 3), computed with the network and the normalization alone."""
    kept = checkpoints.load(checkpoint)
    network = build_network(kept.layers).eval()
    network.load_state_dict(kept.network)
    read = READERS["images"](grayscale=True).decode
    images = torch.from_numpy(np.stack([read(str(file)) for file in files])) / 255
    with torch.inference_mode():
        return network((images - 0.4) / 0.3).exp().numpy()


def test_a_checkpoint_knows_how_inputs_were_read_and_by_which_loss_it_learned(trained):
    kept = checkpoints.load(trained)
    assert (kept.data, kept.loss) == (READING, {"function": "NLL"})


def test_a_folder_is_predicted_as_the_network_and_its_transforms_say(trained, folder, tmp_path):
    files = sorted((folder / "testing").rglob("*.jpg"))
    found = rayrml.predict(trained, folder / "testing", tmp_path / "out", quiet=True)
    expected = by_hand(trained, files)
    names = [str(file.relative_to(folder / "testing")) for file in files]
    with h5py.File(tmp_path / "out" / "output_1.h5") as read:
        assert np.allclose([np.exp(read[name][()]) for name in names], expected, atol=1e-5)
    table = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert [row["path"] for row in table] == names
    assert [row["class"] for row in table] == [CLASSES[i] for i in expected.argmax(1)]
    assert [float(row["probability"]) for row in table] == pytest.approx(expected.max(1), rel=1e-4)
    assert [float(row["probability_3"]) for row in table] == pytest.approx(expected.min(1), rel=1e-3)
    assert (found.count, found.skipped, len(found.rows)) == (24, 0, 24)
    assert found.files == (str(tmp_path / "out" / "output_1.h5"),)
    assert found.table == str(tmp_path / "out" / "predictions.csv")


def test_files_and_folders_may_be_mixed_and_the_screen_shows_twenty(trained, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    inputs = [folder / "testing", folder / "training" / "1" / "0000.jpg", folder / "testing" / "4" / "0001.jpg"]
    assert cli.main(["predict", *map(str, inputs), "--checkpoint", trained]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"jpg  +[147]  +[01]\.\d{3}\n", out)) == 20
    assert "and 5 more\n" in out
    with h5py.File(tmp_path / "predictions" / "output_1.h5") as read:
        assert (len(read["testing/4"]), list(read["training/1"])) == (8, ["0000.jpg"])
    assert "Replacing" not in out
    assert cli.main(["predict", str(inputs[1]), "--checkpoint", trained]) == 0
    out = capsys.readouterr().out
    assert "Replacing files of an earlier run: ./predictions/output_1.h5\n" in out
    assert "Replacing a file of an earlier run: ./predictions/predictions.csv\n" in out


def test_what_an_older_checkpoint_does_not_say_can_be_given(ray_cluster, folder, tmp_path, capsys):
    old = str(saved(tmp_path / "old.pt", dense_network(3), classes=CLASSES))
    arguments = ["predict", str(folder / "testing"), "--checkpoint", old, "--output", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not say how its inputs are read" in line
    assert "--set data.grayscale=true" in line
    transforms = '[{"normalize": {"mean": 0.4, "std": 0.3}}]'
    given = ["--set", "data.grayscale=true", "--set", f"data.input_transforms={transforms}", "--quiet"]
    assert cli.main([*arguments, *given]) == 0
    expected = by_hand(old, sorted((folder / "testing").rglob("*.jpg")))
    table = csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines())
    assert [float(row["probability"]) for row in table] == pytest.approx(expected.max(1), rel=1e-4)


def test_a_network_that_gives_images_has_no_table(ray_cluster, folder, tmp_path, capsys):
    layers = [dense_network(1)[0], {"class_name": "Conv2D", "config": {"name": "c", "filters": 1, "kernel_size": 1}}]
    path = saved(tmp_path / "images.pt", layers, data=READING, loss={"function": "MSE"})
    found = rayrml.predict(path, folder / "testing" / "1" / "0000.jpg", tmp_path / "out")
    assert (found.table, found.rows, found.count) == (None, (), 1)
    assert f"Saved predictions: {tmp_path / 'out' / 'output_1.h5'}" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["output_1.h5", "run.log"]
    with h5py.File(found.files[0]) as read:
        assert read["0000.jpg"].shape == (1, 28, 28)


def test_arrays_are_predicted_and_slices_put_together(ray_cluster, tmp_path):
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 1], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "c", "filters": 1, "kernel_size": 1, "kernel_initializer": "ones"}},
    ]
    slicers = [{"name": "tiles", "sizes": [8, 8], "strides": [4, 4]}]
    data = {"input_type": "numpy", "grayscale": False, "input_transforms": [], "slicers": slicers}
    array = np.random.default_rng(0).normal(size=(1, 16, 24)).astype(np.float32)
    np.save(tmp_path / "array.npy", array)
    path = saved(tmp_path / "slices.pt", layers, data=data)
    found = rayrml.predict(str(path), [str(tmp_path / "array.npy")], str(tmp_path / "out"), quiet=True)
    assert [file.rpartition("/")[2] for file in found.files] == ["output_1.h5", "assembled.h5"]
    with h5py.File(found.files[1]) as read:
        assembled = []
        read.visititems(lambda _, item: assembled.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    assert np.allclose(assembled[0][..., 0], array[0])


def test_a_checkpoint_cannot_name_files_to_read_or_to_write(ray_cluster, folder, tmp_path):
    data = {**READING, "input_path": str(folder / "training"), "hdf5_outfile": str(tmp_path / "evil.h5")}
    path = saved(tmp_path / "x.pt", dense_network(3), classes=CLASSES, data=data)
    rayrml.predict(path, folder / "testing", tmp_path / "out", quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "x.pt"]


def test_what_cannot_be_read_is_left_out_if_asked_for(trained, folder, tmp_path):
    images, _ = tmp_path / "images", write_jpeg(tmp_path / "images" / "a.jpg", np.zeros((28, 28), np.uint8))
    write_jpeg(images / "b.jpg", np.zeros((28, 28), np.uint8))
    (images / "c.jpg").write_bytes(b"no image")
    overrides = {"data.on_bad_sample": "skip"}
    found = rayrml.predict(trained, images, tmp_path / "out", overrides=overrides, quiet=True)
    assert ([row.path for row in found.rows], found.skipped) == (["a.jpg", "b.jpg"], 1)


def test_only_what_says_how_inputs_are_read_is_kept_of_the_data_section():
    section = {"type": "images", "target_type": "labels", "input_path": "/x", "transforms": TRANSFORMS}
    assert describe_reading(Data(**section, input_grayscale=True)) == READING
    assert describe_reading(Data(type="pde", num_examples=4, domain_size=8)) == {}


@pytest.mark.parametrize("channels", [1, 3])
def test_masks_have_the_sizes_of_the_images_for_any_number_of_workers(ray_cluster, tmp_path, channels):
    rng = np.random.default_rng(0)
    sizes = {"a.jpg": (20, 30), "b.jpg": (41, 17), "sub/a.jpg": (9, 12)}
    for name, size in sizes.items():
        write_jpeg(tmp_path / "in" / name, np.kron(rng.integers(0, 256, size), np.ones((3, 3), int)).astype(np.uint8))
    ending = "sigmoid" if channels == 1 else "softmax"
    convolution = {"filters": channels, "kernel_size": 3, "padding": "same", "activation": ending}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, None, 1], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "c", **convolution}},
    ]
    data = {**READING, "input_transforms": [{"resize": [16, 24]}], "test_output_images": "masks"}
    path = saved(tmp_path / "masks.pt", layers, data=data, loss={"function": "Dice"})
    found = {}
    for workers in (1, 3):
        out = tmp_path / f"out_{workers}"
        overrides = {"ray.num_workers": workers, "data.test_batch_size": 2, "ray.resources_per_worker": {"CPU": 0.25}}
        rayrml.predict(path, tmp_path / "in", out, overrides=overrides, quiet=True)
        files = [file for file in sorted(out.rglob("*")) if file.suffix in (".png", ".jpg", ".csv")]
        found[workers] = {str(file.relative_to(out)): file.read_bytes() for file in files}
    assert found[1] == found[3]
    masks = [f"masks_1/{name[:-4]}.png" for name in sizes]
    assert found[1].keys() == {"classes_1.csv", *masks, *(f"overlays_1/{name}" for name in sizes)}
    for name, size in zip(masks, sizes.values(), strict=True):
        with Image.open(tmp_path / "out_1" / name) as mask:
            assert mask.size == (3 * size[1], 3 * size[0])
            assert np.asarray(mask).max() < max(channels, 2)
    rows = list(csv.DictReader(found[1]["classes_1.csv"].decode().splitlines()))
    assert sum(int(row["pixels"]) for row in rows) == sum(9 * height * width for height, width in sizes.values())


def test_a_second_prediction_says_that_pictures_are_added(ray_cluster, folder, tmp_path, capsys):
    layers = [dense_network(1)[0], {"class_name": "Conv2D", "config": {"name": "c", "filters": 1, "kernel_size": 1}}]
    data = {**READING, "test_output_images": "pixels"}
    path = saved(tmp_path / "pixels.pt", layers, data=data, loss={"function": "MSE"})
    for number in (0, 1):
        rayrml.predict(path, folder / "testing" / "1" / f"000{number}.jpg", tmp_path / "out")
        said = capsys.readouterr().out
        assert ("Adding to the pictures of an earlier run: " in said) == bool(number)
    assert sorted(p.name for p in (tmp_path / "out" / "images_1").iterdir()) == ["0000.png", "0001.png"]
