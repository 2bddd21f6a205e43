"""Realistic configurations for a few small files, and mutations of them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayrml.networks.network import build_network
from rayrml.planning.preparation import prepare
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights
from rayrml.tuning import search
from tests.conftest import ROOT, dense_network, write_jpeg
from tests.faults.fuzzing import Case
from tests.faults.mutations import mutated, spoiled_text


def corpus(folder: Path) -> list[Any]:
    """The examples' configurations and some more; the files that they name are created in `folder`."""
    for pattern in ("*/*net*.json", "*/yolo_small.json", "gan/generator.json", "gan/critic.json"):
        for path in (ROOT / "examples").glob(pattern):
            shutil.copy(path, folder)
    configurations = [json.loads(path.read_text()) for path in sorted((ROOT / "examples").glob("*/*.json"))]
    examples = [c for c in configurations if isinstance(c, dict) and "neural_network" in c]
    # Without those of YOLOv3, which a script writes: its 62 million parameters take seconds.
    networks = [c["neural_network"]["layers"] for c in examples]
    examples = [
        c
        for c, layers in zip(examples, networks, strict=True)
        if not isinstance(layers, str) or (folder / layers).exists()
    ]
    _make_images(folder)
    _make_boxes(folder / "shapes")
    _make_arrays(folder)
    _make_tables(folder)
    _make_checkpoints(folder, examples)
    return [*examples, *_more(folder)]


def _make_images(folder: Path) -> None:
    image = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)
    for name, classes in (("mnist", range(10)), ("first", range(5)), ("second", range(5, 10))):
        for part in ("training", "testing"):
            for number in classes:
                write_jpeg(folder / name / part / str(number) / "0.jpg", image)
    for name in ("mnist_digits", *(f"shapes/{a}/{b}" for a in ("training", "testing") for b in ("images", "masks"))):
        size = 28 if name == "mnist_digits" else 64
        for number in range(2):
            write_jpeg(folder / name / f"{number}.jpg", np.full((size, size), 255 * number, np.uint8))


def _make_boxes(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / "labels" / part).mkdir(parents=True)
        for number in range(4):
            write_jpeg(folder / "images" / part / f"{number}.jpg", np.full((64, 64, 3), 40 * number, np.uint8))
            lines = [f"{kind} 0.5 0.4 0.{number + kind + 2} 0.3" for kind in range(3)]
            (folder / "labels" / part / f"{number}.txt").write_text("\n".join(lines))


def _make_arrays(folder: Path) -> None:
    for part in ("training", "test"):
        (folder / "diffusivity" / part).mkdir(parents=True)
        np.save(folder / "diffusivity" / part / "0.npy", np.ones((1, 32, 32), np.float32))
        with h5py.File(folder / f"{part}.h5", "w") as file:
            file["amplitude"] = np.zeros((32, 40, 32), np.float32)
            file["layer"] = np.zeros((32, 40, 32), np.uint8)
    (folder / "arrays").mkdir()
    for part in ("train", "test"):
        np.save(folder / "arrays" / f"x_{part}.npy", np.zeros((4, 1, 16, 16), np.float32))
        np.save(folder / "arrays" / f"y_{part}.npy", np.arange(4) % 2)
    for kind, axes in (("images-idx3", (3, 28, 28)), ("labels-idx1", (3,))):
        header = bytes([0, 0, 8, len(axes)]) + np.array(axes, ">u4").tobytes()
        (folder / f"train-{kind}-ubyte").write_bytes(header + bytes(i % 2 for i in range(int(np.prod(axes)))))


def _make_tables(folder: Path) -> None:
    tables = {"objects": ("shapes", ("circle;square", "", "triangle")), "blobs": ("x,y,area", ("1,2,3", "4,5,6.5"))}
    for name, (columns, values) in tables.items():
        rows = [f"file,{columns},split"]
        for number in range(6):
            write_jpeg(folder / name / f"{number}.jpg", np.full((32, 32, 3), 20 * number, np.uint8))
            rows.append(f"{number}.jpg,{values[number % len(values)]},{'val' if number > 3 else 'train'}")
        (folder / f"{name}.csv").write_text("\n".join(rows))


def _make_checkpoints(folder: Path, configurations: list[Any]) -> None:
    """Save the checkpoint that each configuration loads, with initial weights."""
    for configuration in configurations:
        section = configuration["neural_network"]
        load = section.get("checkpoints", {}).get("load")
        if load is None:
            continue
        layers = json.loads((folder / section["layers"]).read_text())
        network = build_network(layers)
        content = checkpoints.Checkpoint(1, network.state_dict(), layers, network.input_shapes[0])
        checkpoints.save(folder / load, content)
    export_weights(build_network(dense_network(2)), folder / "weights.h5")


def _more(folder: Path) -> list[Any]:
    images = {"input_type": "images", "target_type": "labels", "input_path": "second/training", "grayscale": True}
    transforms = [
        {"resize": [28, 28]}, {"center_crop": [28, 28]}, {"rotate": 10}, {"random_zoom": 0.1}, {"jitter_crop": 0.1},
        {"color_jitter": {"brightness": 0.1}}, {"normalize": {"mean": 0.5, "std": [0.5]}}, {"mixup": 0.2},
    ]  # fmt: skip
    schedule = [
        {"type": "Warmup", "num_epochs": 2, "start_factor": 0.1},
        {"type": "MultiStep", "milestones": [3, 5], "gamma": 0.5},
    ]
    optimizer = {"type": "SGD", "learning_rate": 0.1, "momentum": 0.9, "lr_scheduler": schedule}
    rows = [
        {"class_name": "Conv1D", "config": {"filters": 8, "kernel_size": 3, "padding": "same"}},
        {"class_name": "Permute", "config": {"dims": [2, 1]}},
        {"class_name": "Reshape", "config": {"target_shape": [8, 64, 1]}},
    ]
    pde = {"type": "pde", "domain_size": 64, "num_examples": 5, "num_test_examples": 2, "bc_frequency": [1, 3]}
    open_input = [{"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, None, None, 1]}}]
    ray = {"num_workers": [1, 2], "use_gpu": "auto", "resources_per_worker": {"CPU": 0.5}, "max_failures": 2}
    return [
        _configuration(dense_network(5), {**images, "transforms": transforms}, optimizer, ray=ray, loss="CrossEntropy"),
        _configuration([*open_input, *dense_network(5)[1:-2], *_pooled(5)], images, {"type": "LAMB"}, precision="bf16"),
        _configuration(rows, {**pde, "bc_type": "fixed_uniform"}, {"type": "Hessian"}, loss="Burgers_PDE", app="pde"),
        _configuration(
            dense_network(2),
            {"type": "mnist", "input_path": "train-images-idx3-ubyte"},
            {"type": "Adam", "lr_scheduler": {"type": "Plateau"}},
            early_stopping={"patience": 2, "metric": "train_loss"}, gradient_clip=1.0, debug=True, num_epochs=3,
        ),
        _configuration(dense_network(2), {"input_type": "images", "test_input_path": "mnist_digits", "grayscale": True},
                       None, loss=None, checkpoints={"load": str(folder / "weights.h5")}),
    ]  # fmt: skip


def _pooled(classes: int) -> list[Any]:
    return [
        {"class_name": "GlobalAveragePooling2D", "config": {}},
        {"class_name": "Dense", "config": {"units": classes, "activation": "log_softmax"}},
    ]


def _configuration(
    layers: Any, data: Any, optimizer: Any, *, loss: str | None = "NLL", ray: Any = None, **more: Any
) -> Any:
    section = {"layers": layers, "data": data, "outfile": "out.txt", **more}
    section |= {"optimizer": optimizer} if optimizer else {}
    section |= {"loss": {"function": loss}} if loss else {}
    return {"neural_network": section} | ({"ray": ray} if ray else {})


def cases(folder: Path) -> Case:
    """A mutated configuration, as a value or as a file, is accepted or refused; the original is valid."""
    configurations = corpus(folder)
    for configuration in configurations:
        _prepared(configuration)

    def case(r: random.Random) -> Any:
        original = r.choice(configurations)
        if r.random() < 0.25:
            path = folder / "configuration.json"
            path.write_bytes(spoiled_text(r, original))
            return _prepared(path)
        return _prepared(mutated(r, original, configurations))

    return case


def _prepared(configuration: Any) -> Any:
    """The plan with which a run or a search begins."""
    return search.prepare(configuration, {}) or prepare(configuration, {})
