"""A configuration to start from for a folder of images: a small network that fits its classes."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from rayrml.data.discovery import Samples, find_samples, label_by_folder
from rayrml.data.readers import READERS
from rayrml.data.readers.images import ImageHeader, read_header
from rayrml.errors import ConfigError, DataError, Problem, explaining

_TRAINING, _TEST = ("training", "train"), ("test", "testing", "val", "valid", "validation")
_SHARE = 0.2  # of the images is kept for the test if there is no test folder
_MOST_LOOKED_AT = 100
_STEP, _LEAST, _MOST = 16, 16, 96  # pixels of a side
_MOST_FILTERS = 128
_MOST_PRELOADED = 2**30  # bytes
_FEW, _EPOCHS_OF_FEW, _EPOCHS_OF_MANY = 2000, 30, 10  # fewer images get 30 epochs, more get 10
_BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder of images contains.

    Attributes:
        training: the images to train on, with their classes.
        test: those to test on; None if a share of the training images is to be kept for that.
        sizes: heights and widths of some of the images.
        gray: whether these are all grayscale.
    """

    training: Samples
    test: Samples | None
    sizes: tuple[tuple[int, int], ...]
    gray: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in the network: their own, if all have the same small size."""
        if len(set(self.sizes)) == 1 and min(self.sizes[0]) >= _LEAST and max(self.sizes[0]) <= _MOST:
            return self.sizes[0]
        side = statistics.median(min(size) for size in self.sizes)
        rounded = min(max(round(side / _STEP) * _STEP, _LEAST), _MOST)
        return rounded, rounded


def look(folder: Path) -> Found:
    """The images in a folder: their classes and sizes, and whether they are for training or for the test.

    Raises:
        ConfigError: there is only one class.
        DataError: there are none, they are not in class folders, or none of those inspected can be read.
    """
    where = str(folder)
    training_folder, test_folder = _below(folder, _TRAINING), _below(folder, _TEST)
    if training_folder is None or test_folder is None:
        training, test = _labelled(training_folder or folder, where), None
    else:
        training = _labelled(training_folder, where)
        test = _labelled(test_folder, where, training.classes)
    if len(training.classes) < 2:
        message = f"only one class found: '{''.join(training.classes)}'. Expected a folder for each of several classes"
        raise ConfigError(Problem(where, message))
    headers = _read_headers(training)
    return Found(training, test, tuple(header.size for header in headers), all(header.gray for header in headers))


def configuration(found: Found, name: str) -> dict[str, Any]:
    """A configuration that trains a small network on the images; the run's files are named after `name`."""
    size, channels = found.size, 1 if found.gray else 3
    num_epochs = _EPOCHS_OF_FEW if len(found.training) < _FEW else _EPOCHS_OF_MANY
    test = {"test_share": _SHARE} if found.test is None else {"test_input_path": found.test.root}
    count = len(found.training) + (0 if found.test is None else len(found.test))
    data = {
        "input_type": "images",
        "target_type": "labels",
        "input_path": found.training.root,
        **test,
        "batch_size": _BATCH_SIZE,
        "grayscale": found.gray,
        "preload": count * channels * size[0] * size[1] <= _MOST_PRELOADED,
        "on_bad_sample": "skip",
        "transforms": [{"resize": list(size)}],  # even if all sizes are equal: images may be added
    }
    network = {
        "outfile": f"out_{name}.txt",
        "num_epochs": num_epochs,
        "layers": layers((*size, channels), len(found.training.classes)),
        "checkpoints": {"save": f"./{name}_model/", "interval": num_epochs},
        "data": data,
        "optimizer": {"type": "Adam", "learning_rate": 0.001},
        "loss": {"function": "NLL"},
    }
    return {"neural_network": network}


def layers(shape: tuple[int, int, int], num_classes: int) -> list[dict[str, Any]]:
    """Blocks of convolutions, each with half the resolution of the one before, then one number per class.

    The normalization works on each image by itself: it needs neither large batches nor many steps to be accurate.
    """
    found = [_layer("InputLayer", "input", batch_input_shape=[None, *shape])]
    side, filters, number = min(shape[:2]), 16, 1
    while side >= _LEAST // 2:
        found += [
            _layer("Conv2D", f"conv_{number}", filters=filters, kernel_size=3, padding="same"),
            _layer("GroupNormalization", f"norm_{number}", groups=8),
            _layer("Activation", f"relu_{number}", activation="relu"),
            _layer("MaxPooling2D", f"pool_{number}", pool_size=2),
        ]
        side, filters, number = side // 2, min(2 * filters, _MOST_FILTERS), number + 1
    return [
        *found,
        _layer("GlobalAveragePooling2D", "mean"),
        _layer("Dropout", "dropout", rate=0.2),
        _layer("Dense", "classes", units=num_classes, activation="log_softmax"),
    ]


def text(configuration: dict[str, Any]) -> str:
    """The configuration as a file for people to edit: one line per key and per layer."""
    whole = json.loads(json.dumps(configuration))
    network = whole["neural_network"]
    lists: dict[str, str] = {}
    for section, key in ((network, "layers"), (network["data"], "transforms")):
        lines = ",\n".join(f"            {json.dumps(entry)}" for entry in section[key])
        lists[f'"<{key}>"'] = f"[\n{lines}\n        ]" if len(section[key]) > 1 else json.dumps(section[key])
        section[key] = f"<{key}>"
    content = json.dumps(whole, indent=4, ensure_ascii=False)
    for mark, shown in lists.items():
        content = content.replace(mark, shown)
    return f"{content}\n"


def _layer(class_name: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **settings}}


def _below(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The folder in `folder` with the first of these names that exists, ignoring case; None if there is none."""
    with explaining(folder, "cannot be read"):
        folders = {entry.name.casefold(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return next((folders[name] for name in names if name in folders), None)


def _labelled(folder: Path, where: str, classes: tuple[str, ...] | None = None) -> Samples:
    files = find_samples(str(folder), READERS["images"]().extensions, where)
    return label_by_folder(files, None, where, classes)


def _read_headers(samples: Samples) -> list[ImageHeader]:
    """The headers of evenly sampled images. Raises DataError if none can be read."""
    found: list[ImageHeader] = []
    problems: list[Problem] = []
    for index in samples.spread(_MOST_LOOKED_AT):
        try:
            found.append(read_header(samples.path(index)))
        except DataError as error:
            problems += error.problems
    if not found:
        raise DataError(problems[0])
    return found
