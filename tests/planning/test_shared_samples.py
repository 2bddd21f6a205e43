import h5py
import numpy as np
import pytest
from PIL import Image

from rayrml.planning.preparation import prepare

IMAGES = {"input_type": "images", "target_type": "labels"}


def warnings_of(data, classes=2):
    network = [
        {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, *data.pop("shape")]}},
        {"class_name": "Dense", "config": {"name": "d", "units": classes, "activation": "log_softmax"}},
    ]
    keys = {"loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
    plan = prepare({"neural_network": {"layers": network, "data": data, **keys}}, {})
    return [warning for warning in plan.warnings if "training samples, too" in warning]


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
