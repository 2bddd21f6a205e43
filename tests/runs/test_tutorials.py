"""Configurations with the keys of the predecessor's tutorials, unmodified, on tiny data in the folders they name.

Each tutorial trains and then loads what it trained; networks are smaller than the tutorials' and have their endings.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import rayrml

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

RNG = np.random.default_rng(0)


def layer(kind: str, name: str, **config: Any) -> dict:
    return {"class_name": kind, "config": {"name": name, **config}}


def classifier(classes: int, last: str = "dense_1") -> list[dict]:
    return [
        layer("InputLayer", "input_1", batch_input_shape=[None, None, None, 3]),
        layer("Conv2D", "conv1", filters=4, kernel_size=3, strides=2, activation="relu"),
        layer("BatchNormalization", "bn1"),
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dense", last, units=classes, activation="log_softmax"),
    ]


def painter(channels: int, ending: str) -> list[dict]:
    return [
        layer("InputLayer", "input_1", batch_input_shape=[None, None, None, 3]),
        layer("Conv2D", "conv1", filters=4, kernel_size=3, padding="same", activation="relu"),
        layer("Conv2D", "out", filters=channels, kernel_size=1, activation=ending),
    ]


def voxels(channels: int, ending: str, size: tuple[int | None, ...]) -> list[dict]:
    return [
        layer("InputLayer", "input_1", batch_input_shape=[None, *size, 1]),
        layer("Conv3D", "conv1", filters=2, kernel_size=3, padding="same", activation="relu"),
        layer("Conv3D", "out", filters=channels, kernel_size=1, activation=ending),
    ]


def photos(folder: str, names: list[str], size: tuple[int, int] = (40, 30)) -> None:
    for name in names:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def masks(folder: str, names: list[str], values: tuple[int, ...], size: tuple[int, int] = (40, 30)) -> None:
    for name in names:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(values, np.uint8)[RNG.integers(0, len(values), (size[1], size[0]))]).save(path)


def write(name: str, section: dict) -> str:
    Path(name).write_text(json.dumps({"neural_network": section}))
    return name


def network(name: str, layers: list[dict]) -> str:
    Path(name).write_text(json.dumps(layers))
    return f"./{name}"


def keras_weights(path: str, layers: list[dict]) -> str:
    """What the tutorials download: weights for these layers in Keras's file."""
    rayrml.export_weights(rayrml.build_network(layers), path)
    return f"./{path}"


def folders_of(classes: list[str], files: int) -> list[str]:
    return [f"{name}/{number}.jpg" for name in classes for number in range(files)]


def birds() -> list[str]:
    names = ["ALBATROSS", "BALD EAGLE", "CROW"]
    photos("data/train", folders_of(names, 4))
    photos("data/valid", folders_of(names, 1))
    photos("test_samples", [f"{name} 1.jpg" for name in names])
    layers = network("layers.json", classifier(3))
    resize = [{"resize": [24, 24]}]
    train = {
        "num_epochs": 6,
        "outfile": "out_classifier.txt",
        "layers": layers,
        "checkpoints": {
            "load": keras_weights("model_resnet50_imagenet.h5", classifier(3)),
            "save": "model_checkpoints_save/",
            "interval": 2,
        },
        "data": {
            "input_type": "images",
            "target_type": "labels",
            "input_path": "./data/train/",
            "test_input_path": "./data/valid/",
            "batch_size": 64,
            "test_batch_size": 128,
            "preload": True,
            "transforms": resize,
        },
        "optimizer": {"type": "Adam", "learning_rate": 0.001, "lr_scheduler": {"type": "Exponential", "gamma": 0.5}},
        "loss": {"function": "NLL"},
    }
    test = {
        "layers": layers,
        "checkpoints": {"load": "./model_checkpoints_save/model_checkpoint_6.pt"},
        "data": {
            "input_type": "images",
            "test_input_path": "./test_samples/",
            "test_output_path": "./predictions/",
            "transforms": resize,
        },
    }
    return [write("config_train.json", train), write("config_test.json", test)]


def brain() -> list[str]:
    for part, count in (("train", 5), ("test", 3)):
        names = [f"TCGA_{number}.tif" for number in range(count)]
        photos(f"data/{part}_image", names)
        masks(f"data/{part}_mask", names, (0, 255))
    photos("data/sample", ["TCGA_9.tif"])
    layers = network("layers_resunet.json", painter(1, "sigmoid"))
    resize = [{"resize": [32, 32]}]
    train = {
        "outfile": "out_segmentation_resunet.txt",
        "num_epochs": 2,
        "layers": layers,
        "checkpoints": {
            "load": keras_weights("model_resunet.h5", painter(1, "sigmoid")),
            "save": "model_MRI_segmentation_resunet/",
            "interval": 10,
        },
        "data": {
            "type": "images",
            "input_path": "./data/train_image/",
            "target_path": "./data/train_mask/",
            "test_input_path": "./data/test_image/",
            "test_target_path": "./data/test_mask/",
            "batch_size": 32,
            "test_batch_size": 64,
            "preload": True,
            "target_grayscale": True,
            "target_is_mask": True,
            "transforms": resize,
        },
        "optimizer": {
            "type": "adam",
            "learning_rate": 0.0001,
            "lr_scheduler": {"type": "Exponential", "gamma": 0.95, "verbose": True},
        },
        "loss": {"function": "Dice", "source": "sigmoid"},
    }
    test = {
        "debug": True,
        "layers": layers,
        "checkpoints": {"load": "./model_MRI_segmentation_resunet/model_checkpoint_2.pt"},
        "data": {
            "type": "images",
            "test_input_path": "./data/sample/",
            "test_batch_size": 16,
            "test_output_path": "./predictions/",
            "transforms": resize,
        },
    }
    return [write("config_train.json", train), write("config_test.json", test)]


def pets() -> list[str]:
    for part in ("training", "testing"):
        names = [f"Abyssinian_{number}" for number in range(4)]
        photos(f"oxford_pets/{part}/inputs", [f"{name}.jpg" for name in names])
        masks(f"oxford_pets/{part}/masks", [f"{name}.png" for name in names], (0, 1, 2))
    photos("samples", ["cat.jpg"])
    layers = network("network_xception2D.json", painter(3, "softmax"))
    steps = [{"resize": [16, 16]}, {"normalize": {"mean": 0.0, "std": 0.003921568}}]
    train = {
        "outfile": "out_dnn_pets_segmentation.txt",
        "num_epochs": 3,
        "layers": layers,
        "checkpoints": {"save": "model_pets_segmentation/", "interval": 5},
        "data": {
            "type": "images",
            "input_path": "./oxford_pets/training/inputs/",
            "target_path": "./oxford_pets/training/masks/",
            "test_input_path": "./oxford_pets/testing/inputs/",
            "test_target_path": "./oxford_pets/testing/masks/",
            "batch_size": 64,
            "test_batch_size": 128,
            "preload": True,
            "target_grayscale": True,
            "target_is_mask": True,
            "transforms": steps,
        },
        "optimizer": {"type": "rmsprop", "learning_rate": 1e-3},
        "loss": {"function": "Dice", "source": "softmax"},
    }
    test = {
        "layers": layers,
        "checkpoints": {"load": "./model_pets_segmentation/model_checkpoint_3.pt"},
        "data": {
            "type": "images",
            "test_input_path": "./samples/",
            "test_output_path": "./predictions/",
            "test_batch_size": 16,
            "transforms": [{"resize": [16, 16]}, {"normalize": {"std": 0.003921568}}],
        },
    }
    return [write("config_pets_segmentation.json", train), write("config_pets_inference.json", test)]


def inpainting() -> list[str]:
    photos("natural_images/training", folders_of(["cat", "dog"], 4))
    photos("natural_images/testing", folders_of(["cat", "dog"], 1))
    paint = network("network_resnet50_feature_extract.json", painter(3, "sigmoid"))
    sort = network("network_resnet50_classifier.json", [*painter(3, "sigmoid")[:2], *classifier(2)[3:]])
    learn = {
        "num_epochs": 2,
        "outfile": "out_inpaint_feature_extraction.txt",
        "layers": paint,
        "checkpoints": {"save": "./model_checkpoints/", "interval": 10},
        "data": {
            "type": "images",
            "input_path": "./natural_images/training/",
            "target_path": "./natural_images/training/",
            "batch_size": 128,
            "preload": True,
            "transforms": [{"resize": [32, 32]}, {"random_patches": {"number": 4, "size": 4}}],
        },
        "optimizer": {"type": "Adam", "learning_rate": 0.001},
        "loss": {"function": "BCE"},
    }
    classify = {
        "num_epochs": 2,
        "outfile": "out_inpaint_classifier.txt",
        "layers": sort,
        "checkpoints": {"load": "./model_checkpoints/model_checkpoint_2.pt"},
        "data": {
            "input_type": "images",
            "target_type": "labels",
            "input_path": "./natural_images/training/",
            "test_input_path": "./natural_images/testing",
            "batch_size": 128,
            "test_batch_size": 1024,
            "preload": True,
            "transforms": [{"resize": [32, 32]}],
        },
        "optimizer": {"type": "Hessian", "max_iterations": 3},
        "loss": {"function": "NLL"},
    }
    return [
        write("config_inpaint_feature_extraction.json", learn),
        write("config_inpaint_classifier.json", classify),
    ]


def poisson() -> list[str]:
    Path("diffusivity_maps").mkdir()
    for number in range(3):
        np.save(f"diffusivity_maps/map_{number}.npy", RNG.uniform(0.5, 2, (6, 6, 6)).astype(np.float32))
    Path("data").mkdir()
    np.save("data/nu.npy", RNG.uniform(0.5, 2, (6, 6, 6)).astype(np.float32))
    layers = network("unet3d_poisson.json", voxels(1, "sigmoid", (None, None, None)))
    train = {
        "outfile": "out_dnn_poisson3d.txt",
        "num_epochs": 2,
        "layers": layers,
        "checkpoints": {"save": "./model_poisson3d/", "interval": 5},
        "data": {
            "type": "numpy",
            "input_path": "./diffusivity_maps/",
            "target_path": "./diffusivity_maps/",
            "batch_size": 128,
            "preload": True,
        },
        "optimizer": {"type": "Adam", "learning_rate": 1e-4},
        "loss": {"function": "Poisson3D_PDE"},
    }
    test = {
        "layers": layers,
        "checkpoints": {"load": "./model_poisson3d/model_checkpoint_2.pt"},
        "data": {
            "type": "numpy",
            "test_input_path": "./data/nu.npy",
            "test_target_path": "./data/nu.npy",
            "test_output_path": "./prediction/",
        },
        "loss": {"function": "Poisson3D_PDE"},
    }
    return [write("config_poisson3d_pde.json", train), write("config_poisson3d_pde_inference.json", test)]


def satellite() -> list[str]:
    photos("data/train", folders_of(["Forest", "River"], 4))
    photos("data/valid", folders_of(["Forest", "River"], 1))
    photos("data/test", folders_of(["Forest", "River"], 2))
    layers = network("network.json", classifier(2))
    train = {
        "num_epochs": 2,
        "outfile": "out_satellite_classifier.txt",
        "layers": layers,
        "checkpoints": {
            "load": keras_weights("model_resnet50_imagenet_10classes.h5", classifier(2)),
            "save": "./model_checkpoints/",
            "interval": 5,
        },
        "data": {
            "input_type": "images",
            "target_type": "labels",
            "input_path": "./data/train/",
            "test_input_path": "./data/valid/",
            "batch_size": 64,
            "test_batch_size": 128,
            "preload": True,
            "transforms": [{"resize": [16, 16]}],
        },
        "optimizer": {"type": "Adam", "learning_rate": 0.05, "lr_scheduler": {"type": "Exponential", "gamma": 0.95}},
        "loss": {"function": "NLL"},
    }
    test = {
        "layers": layers,
        "checkpoints": {"load": "./model_checkpoints/model_checkpoint_2.pt"},
        "data": {
            "input_type": "images",
            "test_input_path": "./data/test/",
            "test_output_path": "./predictions/",
            "transforms": [{"resize": [16, 16]}],
        },
    }
    return [write("config_train.json", train), write("config_test.json", test)]


def seismic() -> list[str]:
    """Trained on bricks of the size that the network declares, and applied to a larger one."""
    network("unet3d_seismic.json", voxels(4, "log_softmax", (8, 8, 32)))
    Path("parihaka").mkdir()
    for part, size in (("train", (10, 20, 83)), ("test", (10, 18, 50))):
        arrays = {"input": RNG.random((1, *size), np.float32), "target": RNG.integers(0, 4, size, np.uint8)}
        for name, array in arrays.items():
            with h5py.File(f"parihaka/{name}3D_{part}.h5", "w") as file:
                file["data"] = array
            np.save(f"parihaka/{name}3D_{part}.npy", array)
    train = {
        "outfile": "out_seismic3d.txt",
        "checkpoints": {"save": "./model_seismic3d/", "interval": 2},
        "layers": "./unet3d_seismic.json",
        "num_epochs": 2,
        "data": {
            "type": "hdf5",
            "input_path": "./parihaka/input3D_train.h5",
            "target_path": "./parihaka/target3D_train.h5",
            "test_input_path": "./parihaka/input3D_test.h5",
            "test_target_path": "./parihaka/target3D_test.h5",
            "batch_size": 16,
            "test_batch_size": 16,
            "preload": True,
            "slicers": [{"name": "samples", "sizes": [8, 8, 32], "strides": [8, 8, 17], "discard_remainders": True}],
        },
        "optimizer": {"type": "Adam", "learning_rate": 1e-4},
        "loss": {"function": "NLL"},
    }
    inference = {
        "checkpoints": {"load": "./model_seismic3d/model_checkpoint_2.pt"},
        "layers": "./unet3d_seismic.json",
        "data": {
            "type": "numpy",
            "test_input_path": "./parihaka/input3D_test.npy",
            "test_target_path": "./parihaka/target3D_test.npy",
            "test_output_path": "./prediction/",
            "test_batch_size": 1,
            "slicers": [{"name": "test_sample", "sizes": [8, 16, 48], "discard_remainders": True}],
        },
        "loss": {"function": "Dice", "source": "log_softmax"},
    }
    files = [("config_dnn_seismic3d.json", train), ("config_dnn_seismic3d_inference.json", inference)]
    return [write(name, section) for name, section in files]


def smoke() -> list[str]:
    for part, count in (("training", 6), ("testing", 2)):
        for digit in (0, 1):
            photos(f"data/mnist_jpg/{part}", [f"{digit}/{part}/{number}.jpg" for number in range(count)], (28, 28))
    train = {
        "outfile": "out_dnn_mnist_sgd.txt",
        "num_epochs": 2,
        "data": {
            "input_type": "images",
            "input_path": "./data/mnist_jpg/training/",
            "test_input_path": "./data/mnist_jpg/testing/",
            "target_type": "labels",
            "batch_size": 4,
            "training_tag": "training",
            "test_tag": "testing",
            "grayscale": True,
            "transforms": [{"resize": [28, 28]}],
        },
        "optimizer": {"type": "SGD", "learning_rate": 0.01, "momentum": 0.5},
        "loss": {"function": "NLL"},
        "layers": [
            layer("Conv2D", "conv1", batch_input_shape=[None, 28, 28, 1], filters=3, kernel_size=[5, 5], strides=3),
            layer("SpatialDropout2D", "spat_drop", rate=0),
            layer("MaxPooling2D", "max_pool_1", pool_size=[2, 2]),
            layer("Activation", "relu_1", trainable=True, activation="relu"),
            layer("Flatten", "flatten_1", trainable=True, data_format="channels_last"),
            layer("Dense", "fc2", units=2, activation="linear", use_bias=True),
            layer("Activation", "softmax", trainable=True, activation="log_softmax", axis=1),
        ],
    }
    return [write("config_rmldnn_test.json", train)]


TUTORIALS: dict[str, tuple[Callable[[], list[str]], str | None, int]] = {
    # what makes the files, where predictions are, and how many there are
    "birds": (birds, "predictions", 3),
    "brain": (brain, "predictions", 1),
    "pets": (pets, "predictions", 1),
    "inpainting": (inpainting, None, 0),
    "poisson": (poisson, "prediction", 1),
    "satellite": (satellite, "predictions", 4),
    "seismic": (seismic, "prediction", 1),
    "smoke": (smoke, None, 0),
}


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_with_its_own_keys(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, predictions, count = TUTORIALS[name]
    for file in make():
        result = rayrml.run(file, quiet=True)
    if predictions is None:
        assert result.metrics["train_loss"] > 0
        return
    with h5py.File(f"{predictions}/output_1.h5") as file:
        found: list[str] = []
        file.visititems(lambda place, item: found.append(place) if isinstance(item, h5py.Dataset) else None)
        assert len(found) == count
        assert all(np.isfinite(file[place][()]).all() for place in found)


@pytest.fixture(scope="module")
def breast(tmp_path_factory):
    """Images with tumours and masks of them, in the folders of the search's tutorial."""
    folder = tmp_path_factory.mktemp("breast")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for part in ("train", "test"):
            names = [f"benign ({number}).png" for number in range(4)]
            photos(f"data/{part}/inputs", names, (32, 32))
            masks(f"data/{part}/targets", names, (0, 255), (32, 32))
        network("layers_resunet.json", painter(1, "sigmoid"))
    return folder


@pytest.mark.parametrize("loss", ["Dice", "BCE", "NLL", "MSE", "Jaccard", "Focal", "Lovasz"])
def test_the_script_that_searches_gets_a_number_to_maximize_from_every_loss(breast, tmp_path, monkeypatch, loss):
    """It writes the same section for each loss, and compares trials by the last number of the test log."""
    monkeypatch.chdir(shutil.copytree(breast, tmp_path / "trial"))
    sides = {"input": "inputs", "target": "targets"}
    config = {
        "outfile": "out.txt",
        "num_epochs": 1,
        "layers": "./layers_resunet.json",
        "checkpoints": {"save": "model_checkpoints/"},
        "data": {
            "type": "images",
            **{f"{side}_path": f"./data/train/{name}/" for side, name in sides.items()},
            **{f"test_{side}_path": f"./data/test/{name}/" for side, name in sides.items()},
            "batch_size": 2,
            "test_batch_size": 16,
            "preload": True,
            "target_grayscale": True,
            "target_is_mask": True,
            "transforms": [{"resize": [16, 16]}],
        },
        "optimizer": {"type": "Adam", "learning_rate": 0.001},
        "loss": {"function": loss.lower(), "source": "sigmoid"},
    }
    result = rayrml.run(write("config.json", config), quiet=True)
    (line,) = Path("out_test.txt").read_text().splitlines()
    assert re.fullmatch(r"1 -?\d+\.\d{8} \d\.\d{8}", line)
    assert 0 <= float(line.split()[-1]) <= 1
    assert float(line.split()[-1]) == pytest.approx(
        result.metrics["jaccard" if loss in ("Jaccard", "Lovasz") else "dice"], abs=1e-8
    )
