"""Small images with boxes, and networks of one or two grids for them."""

import copy

import numpy as np

from tests.conftest import write_jpeg

CLASSES = ("disc", "bar")
CHANNELS = 14  # of two anchors and two classes
BOXES = {  # lines of YOLO for images of 64 x 64 pixels
    "a": ["0 0.25 0.25 0.25 0.125", "1 0.75 0.75 0.5 0.25"],
    "b": ["1 0.5 0.5 0.75 0.75"],
    "c": [],
    "d": ["0 0.5 0.25 0.125 0.25", "0 0.25 0.75 0.25 0.25"],
}


def write_images(folder, labels=None, part="train"):
    """Images of 64 x 64 pixels with label files of YOLO; of none if an image has None."""
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True, exist_ok=True)
    for name, lines in (BOXES if labels is None else labels).items():
        write_jpeg(folder / "images" / part / f"{name}.jpg", np.full((64, 64, 3), 90, np.uint8))
        if lines is not None:
            (folder / "labels" / part / f"{name}.txt").write_text("\n".join(lines))
    (folder / "classes.txt").write_text("\n".join(CLASSES))


def layer(kind, name, source, **more):
    """A layer of a functional model on the output of others."""
    sources = [source] if isinstance(source, str) else source
    nodes = [[[one, 0, 0, {}] for one in sources]] if sources else []
    return {"class_name": kind, "name": name, "config": {"name": name, **more}, "inbound_nodes": nodes}


def grids(
    *, outputs=("coarse", "fine"), joined=(), activation="linear", channels=CHANNELS, size=(64, 64), momentum=0.9
):
    """A network of two grids with cells of 32 and 16 pixels; `joined` ones are one output, in this order."""
    layers = [
        layer("InputLayer", "image", [], batch_input_shape=[None, *size, 3]),
        layer("Conv2D", "conv", "image", filters=4, kernel_size=16, strides=16),
        layer("BatchNormalization", "norm", "conv", momentum=momentum),
        layer("Conv2D", "fine", "norm", filters=channels, kernel_size=1),
        layer("MaxPooling2D", "pool", "norm", pool_size=2),
        layer("Conv2D", "coarse", "pool", filters=channels, kernel_size=1, activation=activation),
        *(layer("Reshape", f"row_{name}", name, target_shape=[-1, channels]) for name in joined),
    ]
    if joined:
        layers.append(layer("Concatenate", "all", [f"row_{name}" for name in joined], axis=1))
        outputs = ("all",)
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[name, 0, 0] for name in outputs]}
    return {"class_name": "Functional", "config": {"name": "grids", "layers": layers, **ends}}


def configuration(folder, **changes):
    """A training on the images of a folder; changes are values by dotted keys, None to leave a key out."""
    data = {"input_type": "images", "target_type": "boxes", "input_path": str(folder / "images" / "train")}
    network = {"layers": grids(), "data": data, "optimizer": {"type": "SGD"}, "loss": {"function": "YOLOv3"}}
    network["num_epochs"] = 40  # long enough for the momentum
    network = copy.deepcopy(network)
    for key, value in changes.items():
        *path, last = key.split("__")
        section = network
        for name in path:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(last, None)
        else:
            section[last] = value
    return {"neural_network": network}
