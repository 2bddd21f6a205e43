"""Small networks of images in checkpoints, and images on which they can be tried."""

import numpy as np
import torch
from PIL import Image

from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint

TRANSFORMS = [
    {"random_horizontal_flip": 0.5},
    {"resize": [40, 28]},
    {"center_crop": [32, 24]},
    {"normalize": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}},
]


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def save_classifier(folder, *, transforms=TRANSFORMS, size=(32, 24), channels=3, **fields):
    """A checkpoint of a network that tells three classes apart; some of its layers have the names of torch's values."""
    layers = [
        layer("InputLayer", "image", batch_input_shape=[None, *size, channels]),
        layer("Conv2D", "conv2d", filters=4, kernel_size=3, strides=2, padding="same", activation="relu"),
        layer("GlobalAveragePooling2D", "mean"),
        layer("Dense", "linear", units=3),
    ]
    torch.manual_seed(2)
    network = build_network(layers)
    with torch.no_grad():
        network.layers()["linear"].weight.mul_(20)  # so that images differ in their probabilities
    data = {"input_type": "images", "grayscale": channels == 1, "input_transforms": transforms}
    given = {"classes": ("cat", "dog", "eel"), "data": data, "loss": {"function": "CrossEntropy"}, **fields}
    path = folder / "best.pt"
    checkpoints.save(path, Checkpoint(3, network.state_dict(), layers, (channels, *size), **given))
    return path


def write_images(folder, sizes=((60, 50), (33, 90), (200, 120), (40, 40))):
    """Images (width, height) with smooth colors, JPEG and PNG in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        coarse = generator.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.{('jpg', 'png')[number % 2]}", quality=95)
    return folder
