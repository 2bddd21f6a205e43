"""What is measured with: folders of images and the configurations that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from tests.benchmarks.pairs import ROOT

NETWORK = ROOT / "examples" / "mnist" / "mnist_keras_net.json"


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) uint8 of real digits and labels (N,); those that come again have noise added."""
    with np.load(ROOT / "examples" / "mnist" / "mnist_7k.npz") as file:
        images, labels = file["train_images"], file["train_labels"].astype(np.int64)
    picked = np.arange(count) % len(images)
    random = np.random.default_rng(0)
    result = images[picked]
    for start in range(len(images), count, len(images)):
        part = result[start : start + len(images)]
        noise = random.integers(-8, 9, part.shape, np.int16)
        part[...] = np.clip(part + noise, 0, 255)
    return result, labels[picked]


def digit_files(folder: Path, count: int) -> Path:
    """`count` JPEGs of 28x28 in ten folders of their classes."""
    images, labels = digits(count)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        content = simplejpeg.encode_jpeg(np.ascontiguousarray(image[:, :, None]), quality=90, colorspace="GRAY")
        (folder / str(label) / f"{number:06}.jpg").write_bytes(content)
    return folder


def photographs(folder: Path, count: int, size: tuple[int, int] = (375, 500), distinct: int = 50) -> Path:
    """`count` colour JPEGs like photographs in ten folders; after the first `distinct` ones they are links to those."""
    random = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    first: list[Path] = []
    for number in range(count):
        path = folder / str(number % 10) / f"{number:06}.jpg"
        if number < distinct:
            path.write_bytes(simplejpeg.encode_jpeg(scene(random, *size), quality=90))
            first.append(path)
        else:
            path.hardlink_to(first[number % distinct])
    return folder


def labelled_photographs(folder: Path, count: int, num_classes: int) -> None:
    """`photographs` in `images/`, and for each a label file of YOLO with 2 to 8 boxes in `labels/`."""
    photographs(folder / "images", count)
    random = np.random.default_rng(1)
    for path in sorted((folder / "images").rglob("*.jpg")):
        labels = folder / "labels" / path.relative_to(folder / "images").with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        size = random.uniform(0.05, 0.4, (random.integers(2, 9), 2))
        middle = size / 2 + (1 - size) * random.random(size.shape)
        kinds = random.integers(num_classes, size=len(size))
        lines = zip(kinds, *middle.T, *size.T, strict=True)
        labels.write_text("".join(f"{kind} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for kind, x, y, w, h in lines))


def scene(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth noise of several sizes with discs and boxes before it."""
    image = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 90.0), (16, 50.0), (64, 25.0)):
        coarse = random.random((cells + 1, cells + 1, 3), np.float32)
        image += strength * _enlarged(coarse, height, width)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(12):
        y, x, radius = random.integers(height), random.integers(width), random.integers(8, max(height // 4, 9))
        inside = np.hypot(rows - y, columns - x) < radius
        if random.random() < 0.5:
            inside = (abs(rows - y) < radius) & (abs(columns - x) < radius)
        image[inside] = 0.6 * image[inside] + 0.4 * 255 * random.random(3, np.float32)
    image += random.normal(0, 4, image.shape)
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))


def _enlarged(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small image in a larger size, in between by straight lines."""
    for axis, size in ((0, height), (1, width)):
        at = np.linspace(0, coarse.shape[axis] - 1.001, size, dtype=np.float32)
        low = at.astype(int)
        share = (at - low).reshape([-1 if each == axis else 1 for each in range(3)])
        coarse = (1 - share) * coarse.take(low, axis) + share * coarse.take(low + 1, axis)
    return coarse


def small_network(size: int) -> list[dict[str, Any]]:
    """A convolutional network for colour images of size x size that costs little beside reading them."""
    conv = {"kernel_size": 3, "activation": "relu"}
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, size, size, 3], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 8, "strides": 4, **conv}},
        {"class_name": "Conv2D", "config": {"name": "conv_2", "filters": 16, "strides": 2, **conv}},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "mean"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 10, "activation": "log_softmax"}},
    ]


def detection_network(size: int, channels: int) -> list[dict[str, Any]]:
    """A convolutional network for colour images of size x size with one grid of cells of 16 pixels."""
    shape = [None, size, size, 3]
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": shape, "name": "input"}}
    ]
    for number, filters in enumerate((8, 16, 32, 64)):
        conv = {"filters": filters, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}
        layers += [
            {"class_name": "Conv2D", "config": {"name": f"conv_{number}", **conv}},
            {"class_name": "BatchNormalization", "config": {"name": f"norm_{number}", "momentum": 0.9}},
            {"class_name": "LeakyReLU", "config": {"name": f"leaky_{number}"}},
        ]
    return [*layers, {"class_name": "Conv2D", "config": {"name": "grid", "filters": channels, "kernel_size": 1}}]


def training(path: Path, layers: Any = str(NETWORK), **keys: Any) -> dict[str, Any]:
    """Training with Adam on a folder of images; `keys` are of the data section, but for those of the network's."""
    own = {key: keys.pop(key) for key in ("num_epochs", "outfile", "checkpoints") if key in keys}
    data = {"input_type": "images", "target_type": "labels", "input_path": str(path), "batch_size": 128, **keys}
    network = {"layers": layers, "data": data, "loss": {"function": "NLL"}, **own}
    return {"neural_network": {**network, "optimizer": {"type": "Adam", "learning_rate": 1e-4}}}


def inference(path: Path, output: Path) -> dict[str, Any]:
    """Predictions of the digits' network, as it is at the beginning."""
    data = {
        "input_type": "images",
        "test_input_path": str(path),
        "test_output_path": str(output),
        "test_batch_size": 128,
        "grayscale": True,
    }
    return {"neural_network": {"layers": str(NETWORK), "data": data}}


def write_config(path: Path, config: dict[str, Any]) -> Path:
    """A configuration file."""
    path.write_text(json.dumps(config))
    return path
