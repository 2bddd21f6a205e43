"""Small networks in checkpoints, and files for them."""

import io
import zlib

import numpy as np
import torch
from PIL import Image

from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import dense_network

IMAGES = {
    "input_type": "images",
    "grayscale": True,
    "scale": None,
    "pages": None,
    "input_transforms": [],
    "slicers": [],
}


def save(path, layers, **fields):
    """The path of a checkpoint with this network and random weights."""
    torch.manual_seed(0)
    network = build_network(layers)
    checkpoints.save(path, Checkpoint(1, network.state_dict(), layers, network.input_shapes[0], **fields))
    return str(path)


def save_classifier(path, **data):
    """A network for gray images of 28x28 pixels with the classes a, b and c; `data` says how they are read."""
    fields = {"classes": ("a", "b", "c"), "loss": {"function": "NLL"}}
    return save(path, dense_network(3), data={**IMAGES, **data}, **fields)


def save_segmenter(path, **data):
    """A network that gives each pixel of a color image of any size one of three classes."""
    config = {"name": "conv", "filters": 3, "kernel_size": 3, "padding": "same", "activation": "softmax"}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, None, None, 3], "name": "input"}},
        {"class_name": "Conv2D", "config": config},
    ]
    return save(path, layers, data={**IMAGES, "grayscale": False, **data}, classes=("sky", "sea", "land"))


def save_regressor(path, input_type="numpy"):
    """A network for arrays (2, 4, 4) whose outputs are two numbers."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4, 4, 2], "name": "input"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 2}},
    ]
    targets = {"target_type": "table", "target_column": ["height", "width"], "target_kind": "number"}
    data = {"input_type": input_type, "input_transforms": [], "slicers": []}
    return save(path, layers, data=data, targets=targets, loss={"function": "MSE"})


def encode(image, kind="PNG"):
    """The bytes of an image (H, W) or (H, W, 3) uint8."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def draw(seed, size=(28, 28), kind="PNG"):
    """The bytes of a random image."""
    return encode(np.random.default_rng(seed).integers(0, 256, size, np.uint8), kind)


def npy(array):
    """The bytes of an array in numpy's format."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def bomb(width, height):
    """A PNG of a few kilobytes that becomes this many gray pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(width + 1)) for _ in range(height)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def save_detector(path):
    """A network that finds objects of two classes in color images of any size, which it sees at 32x32 pixels."""
    convolutions = (("conv_1", 4, 3, 4), ("conv_2", 8, 3, 2), ("grid", 14, 1, 1))
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 32, 32, 3], "name": "input"}},
        *(
            {
                "class_name": "Conv2D",
                "config": {"name": name, "filters": filters, "kernel_size": size, "strides": stride, "padding": "same"},
            }
            for name, filters, size, stride in convolutions
        ),
    ]
    data = {**IMAGES, "grayscale": False, "input_transforms": [{"letterbox": [32, 32]}]}
    loss = {"function": "YOLOv3", "anchors": [[[10, 12], [16, 14]]]}
    return save(path, layers, data=data, loss=loss, classes=("disc", "bar"), detection={"score_threshold": 0.05})
