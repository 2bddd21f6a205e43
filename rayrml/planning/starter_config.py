"""A configuration to start from for a folder of images: a small network that fits its classes."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any

from rayrml.data.discovery import Samples, find_samples, label_by_folder
from rayrml.data.readers import READERS
from rayrml.data.readers.images import ImageHeader, read_header
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.planning import starter_recipe
from rayrml.planning.starter_network import build_classifier

_TRAINING, _TEST = ("training", "train"), ("test", "testing", "val", "valid", "validation")
_SHARE = 0.2  # of the images is kept for the test if there is no test folder
_MOST_LOOKED_AT = 100
_MOST_PRELOADED = 2**30  # bytes
# What is said of keys to people who edit them.
_COMMENTS = {
    "num_epochs": "Training ends earlier if the test loss no longer falls; best.pt is the network of the best epoch.",
    "layers": "One line per layer. The last one has one output for each class.",
    "batch_size": "Smaller batches need less memory.",
    "transforms": "What is random happens in training only. Larger sizes show more detail and take more time.",
    "optimizer": "If the loss jumps or stays where it is, try a third of the learning rate.",
}


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
        """Height and width of the images in the network."""
        return starter_recipe.choose_size(self.sizes)


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
    training = starter_recipe.choose_training(len(found.training))
    test = {"test_share": _SHARE} if found.test is None else {"test_input_path": found.test.root}
    count = len(found.training) + (0 if found.test is None else len(found.test))
    data = {
        "input_type": "images",
        "target_type": "labels",
        "input_path": found.training.root,
        **test,
        "batch_size": starter_recipe.choose_batch_size(len(found.training)),
        "grayscale": found.gray,
        "preload": count * channels * size[0] * size[1] <= _MOST_PRELOADED,
        "on_bad_sample": "skip",
        **starter_recipe.choose_transforms(found.sizes, found.gray),
    }
    network = {
        "outfile": f"out_{name}.txt",
        "num_epochs": training["num_epochs"],
        "layers": build_classifier((*size, channels), len(found.training.classes), len(found.training)),
        "checkpoints": {"save": f"./{name}_model/", "interval": training["num_epochs"]},
        "data": data,
        "optimizer": training["optimizer"],
        "loss": {"function": "NLL"},
        "early_stopping": training["early_stopping"],
    }
    return {"neural_network": network}


def text(configuration: dict[str, Any]) -> str:
    """The configuration as a file for people to edit: one line per key and per layer, with a few comments."""
    lists: list[list[Any]] = []
    content = json.dumps(_take_out(configuration, lists), indent=4, ensure_ascii=False)
    for number, entries in enumerate(lists):
        content = re.sub(rf'^( *)(.*)"<{number}>"', functools.partial(_put_back, entries), content, flags=re.MULTILINE)
    for key, comment in _COMMENTS.items():
        content = re.sub(rf'^( *)("{key}":)', rf"\1// {comment}\n\1\2", content, count=1, flags=re.MULTILINE)
    return f"{content}\n"


def _take_out(value: Any, lists: list[list[Any]]) -> Any:
    """A copy of `value` with a mark for each list of objects, which is appended to `lists`."""
    if isinstance(value, dict):
        return {key: _take_out(item, lists) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        lists.append(value)
        return f"<{len(lists) - 1}>"
    return value


def _put_back(entries: list[Any], mark: re.Match[str]) -> str:
    """The line with a mark and, in place of it, a line for each entry."""
    indent, before = mark.groups()
    lines = ",\n".join(f"{indent}    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    return f"{indent}{before}[\n{lines}\n{indent}]"


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
