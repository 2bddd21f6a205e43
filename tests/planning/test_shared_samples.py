import h5py
import numpy as np
import pytest
from PIL import Image

from rayrml.data.names import Names
from rayrml.data.stacks import RowPlaces
from rayrml.planning.preparation import prepare
from rayrml.planning.shared_samples import warn_of_shared

IMAGES = {"input_type": "images", "target_type": "labels"}


def planned(data, classes=2):
    data = {key: value for key, value in data.items() if value is not None}
    network = [
        {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, *data.pop("shape")]}},
        {"class_name": "Dense", "config": {"name": "d", "units": classes, "activation": "log_softmax"}},
    ]
    keys = {"loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
    return prepare({"neural_network": {"layers": network, "data": data, **keys}}, {})


def warnings_of(data):
    return [warning for warning in planned(data).warnings if "training samples, too" in warning]


@pytest.fixture
def images(tmp_path):
    for part in ("train", "test"):
        for number in range(6):
            path = tmp_path / part / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
    return tmp_path


def of_images(images, test):
    return {"shape": [4, 4, 3], **IMAGES, "input_path": str(images / "train"), "test_input_path": test}


def test_images_that_are_trained_and_tested_with_are_told(images):
    (warning,) = warnings_of(of_images(images, str(images / "train")))
    assert warning.startswith("all 6 test samples are training samples, too, such as 'a/0.png'")


def test_images_of_the_same_names_in_other_folders_are_others(images):
    assert warnings_of(of_images(images, str(images / "test"))) == []


def test_arrays_of_the_same_names_in_other_files_are_others(tmp_path):
    for part in ("train", "test"):
        with h5py.File(tmp_path / f"{part}.h5", "w") as inputs, h5py.File(tmp_path / f"{part}_y.h5", "w") as targets:
            for number in range(4):
                inputs[f"s{number}"] = np.zeros(3, "f4")
                targets[f"s{number}"] = np.int64(number % 2)
    paths = {"input_path": "train.h5", "target_path": "train_y.h5"}
    data = {"shape": [3], "input_type": "hdf5", "target_type": "hdf5"}
    data |= {key: str(tmp_path / name) for key, name in paths.items()}
    others = {"test_input_path": str(tmp_path / "test.h5"), "test_target_path": str(tmp_path / "test_y.h5")}
    assert warnings_of({**data, **others}) == []
    same = {"test_input_path": data["input_path"], "test_target_path": data["target_path"]}
    (warning,) = warnings_of({**data, **same})
    assert "all 4 test samples" in warning


@pytest.fixture
def unread(monkeypatch):
    """Names and places must not be looked at one by one: there may be millions."""

    def refuse(self):
        raise AssertionError("looked at one by one")

    def begin():
        monkeypatch.setattr(Names, "__iter__", refuse)
        monkeypatch.setattr(RowPlaces, "__iter__", refuse, raising=False)

    return begin


def test_shares_of_one_folder_are_not_compared_name_by_name(images, unread):
    datasets = planned({**of_images(images, None), "test_share": 0.5}).datasets
    assert list(warn_of_shared(datasets)) == []
    unread()
    assert list(warn_of_shared(datasets, divided=True)) == []


def test_rows_of_two_arrays_are_not_compared_row_by_row(tmp_path, unread):
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}.npy", np.zeros((6, 3), "f4"))
        np.save(tmp_path / f"{part}_y.npy", np.arange(6) % 2)
    paths = {"input_path": "train.npy", "target_path": "train_y.npy"}
    tests = {"test_input_path": "test.npy", "test_target_path": "test_y.npy"}
    data = {"shape": [3], "input_type": "numpy", "target_type": "numpy"}
    data |= {key: str(tmp_path / name) for key, name in {**paths, **tests}.items()}
    same = {"test_input_path": data["input_path"], "test_target_path": data["target_path"]}
    (warning,) = warnings_of({**data, **same})
    assert "all 6 test samples" in warning
    datasets = planned(data).datasets
    assert datasets.test.samples.root == datasets.training.samples.root
    unread()
    assert list(warn_of_shared(datasets)) == []
