"""A configuration to start from for arrays of many samples each: `x_train.npy` with `y_train.npy`, and the like."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rayrml.data.layout import ROLES, Role
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.formatting import shorten
from rayrml.planning import starter_recipe
from rayrml.planning.starter_network import build_classifier, build_dense

_INPUTS = ("x", "image", "images", "input", "inputs", "data", "features", "samples")
_TARGETS = ("y", "label", "labels", "target", "targets", "class", "classes", "values")
_PREFIXES: dict[Role, str] = {"training": "", "validation": "test_", "test": "final_test_"}
_MOST_CHANNELS = 4  # of an array whose axes do not tell which one holds them
_MOST_CLASSES = 1000
_MOST_READ = 500  # samples by which values are scaled
_SMALLEST = 8  # pixels of a side that convolutions need
_GUIDE = "See `All samples in one array` in the guide"

# Where `trainImages`, `XTrain` and `ytest` have two words.
_IN_ONE_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=^[xyXY])(?=(?:train|val|test))")

Learns = Literal["class", "classes", "number"]


@dataclasses.dataclass(frozen=True)
class ArraysFound:
    """Arrays of samples in a folder.

    Attributes:
        paths: the arrays by the keys of the section `data` that name them.
        counts: how many samples each part has.
        shape: (*spatial, C) of a sample.
        channels: which axis of a sample has the channels.
        learns: what the network is to tell of a sample.
        num_outputs: the number of classes, or of numbers.
        scaling: mean and standard deviation of the inputs' values; of vectors, of each value by itself.
        statistics: mean and standard deviation of each number of the targets, {} for classes.
    """

    paths: Mapping[str, str]
    counts: Mapping[Role, int]
    shape: tuple[int, ...]
    channels: Literal["first", "last"]
    learns: Learns
    num_outputs: int
    scaling: tuple[list[float], list[float]]
    statistics: Mapping[str, list[float]]

    def describe(self) -> Iterator[str]:
        """What was found, and what is assumed of it."""
        parts = {"training": "training", "validation": "validation", "test": "the final test"}
        shown = ", ".join(f"{count:,} for {parts[role]}" for role, count in self.counts.items())
        size = " x ".join(map(str, self.shape))
        what = f"Vectors of {size} values" if len(self.shape) == 1 else f"Arrays of {size}, channels {self.channels}"
        yield f"{what}: {shown}"
        has = {"class": "one of {} classes", "classes": "any of {} classes", "number": "{} numbers"}[self.learns]
        yield f"Each sample has {has.format(self.num_outputs) if self.num_outputs > 1 else 'a number'}"
        if len(self.counts) == 1:
            yield "There are no arrays for a test, such as x_test.npy: epochs are not evaluated"


def find_arrays(folder: Path) -> ArraysFound:
    """The arrays in a folder.

    Raises:
        ConfigError: nothing can be proposed for such arrays.
        DataError: it is not clear which of them are what, or one cannot be read.
    """
    files = sorted(folder.glob("*.npy"))
    found: dict[tuple[str, Role], Path] = {}
    for file in files:
        key = _find_role(file.stem)
        if key is not None and found.setdefault(key, file) != file:
            names = shorten([found[key].name, file.name])
            raise DataError(Problem(str(folder), f"{names} may both be the {key[0]}s for {key[1]}. {_GUIDE}"))
    if ("input", "training") not in found or ("target", "training") not in found:
        names = shorten([file.name for file in files])
        raise DataError(Problem(str(folder), f"expected arrays such as x_train.npy and y_train.npy, found {names}"))
    if ("input", "validation") not in found and ("input", "test") in found:
        # Epochs are evaluated on the test samples if there are no others.
        for side in ("input", "target"):
            if (side, "test") in found:
                found[side, "validation"] = found.pop((side, "test"))
    return _look(found)


def _look(found: Mapping[tuple[str, Role], Path]) -> ArraysFound:
    """What the arrays hold. Raises ConfigError and DataError."""
    roles: list[Role] = [role for role in _PREFIXES if ("input", role) in found and ("target", role) in found]
    arrays = {key: _open(path) for key, path in found.items() if key[1] in roles}
    for role in roles:
        lengths = [len(arrays[side, role]) for side in ("input", "target")]
        if lengths[0] != lengths[1]:
            place = str(found["target", role])
            raise DataError(Problem(place, f"holds {lengths[1]:,} samples, but its inputs are {lengths[0]:,}"))
    inputs, targets = arrays["input", "training"], arrays["target", "training"]
    shape, channels = _find_shape(inputs, str(found["input", "training"]))
    learns, outputs = _find_targets(targets, str(found["target", "training"]))
    some = np.asarray(inputs[:: max(len(inputs) // _MOST_READ, 1)], np.float64)
    numbers = np.asarray(targets, np.float64).reshape(len(targets), -1)
    mean, std = _measure(numbers)
    statistics = {"mean": mean, "std": std} if learns == "number" else {}
    return ArraysFound(
        paths={
            f"{_PREFIXES[role]}{side}_path": str(found[side, role]) for role in roles for side in ("input", "target")
        },
        counts={role: len(arrays["input", role]) for role in roles},
        shape=shape,
        channels=channels,
        learns=learns,
        num_outputs=outputs,
        scaling=_measure(some if len(shape) == 1 else some.reshape(-1, 1)),
        statistics=statistics,
    )


def configuration(found: ArraysFound, name: str) -> dict[str, Any]:
    """A configuration that trains a small network on the arrays; the run's files are named after `name`."""
    count = found.counts["training"]
    training = starter_recipe.choose_training(count)
    evaluated = {"early_stopping": training["early_stopping"]} if len(found.counts) > 1 else {}
    ending = "log_softmax" if found.learns == "class" else None
    if len(found.shape) == 3 and min(found.shape[:2]) >= _SMALLEST:
        layers = build_classifier(found.shape, found.num_outputs, count, ending)
    else:
        layers = build_dense(found.shape, found.num_outputs, ending)
        layers[1:1] = _rescale(found)
    losses: dict[Learns, dict[str, Any]] = {
        "class": {"function": "NLL"},
        "classes": {"function": "BCE", "source": "logits"},
        "number": {"function": "MSE", "standardize": dict(found.statistics)},
    }
    return {
        "neural_network": {
            "outfile": f"out_{name}.txt",
            "num_epochs": training["num_epochs"],
            "layers": layers,
            "checkpoints": {"save": f"./{name}_model/", "interval": training["num_epochs"]},
            "data": {
                "input_type": "numpy",
                "target_type": "labels" if found.learns == "class" else "numpy",
                **found.paths,
                **({"input_channels": "last"} if found.channels == "last" else {}),
                "stacked": True,
                "batch_size": starter_recipe.choose_batch_size(count),
                "preload": True,
                "input_transforms": _normalize(found),
            },
            "optimizer": training["optimizer"],
            "loss": losses[found.learns],
            **evaluated,
        }
    }


def _normalize(found: ArraysFound) -> list[dict[str, Any]]:
    """The transform that scales images; vectors are scaled by the network."""
    (mean, *_), (std, *_) = found.scaling
    return [] if len(found.shape) == 1 else [{"normalize": {"mean": mean, "std": std}}]


def _rescale(found: ArraysFound) -> list[dict[str, Any]]:
    """The layer that scales each value of a vector by itself, none for other samples."""
    mean, std = (np.array(numbers) for numbers in found.scaling)
    settings = {"name": "standardize", "scale": _round(1 / std), "offset": _round(-mean / std)}
    return [{"class_name": "Rescaling", "config": settings}] if len(found.shape) == 1 else []


def _find_role(stem: str) -> tuple[str, Role] | None:
    """Whether a file holds inputs or targets, and what for, as the words of its name tell; None if they do not."""
    words = set(re.split(r"[^a-z]+", _IN_ONE_WORD.sub("_", stem).lower()))
    sides = [side for side, known in (("input", _INPUTS), ("target", _TARGETS)) if words & set(known)]
    roles: list[Role] = [role for role, known in ROLES.items() if words & set(known)]
    if len(sides) != 1 or len(roles) > 1:
        return None
    return sides[0], roles[0] if roles else "training"


def _open(path: Path) -> np.ndarray:
    with explaining(path, "cannot be read", (OSError, ValueError)):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not array.ndim or not len(array) or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise DataError(Problem(str(path), f"holds no samples: its shape is {list(array.shape)}, of {array.dtype}"))
    return array


def _find_shape(inputs: np.ndarray, place: str) -> tuple[tuple[int, ...], Literal["first", "last"]]:
    """(*spatial, C) of a sample, and which axis has the channels."""
    sizes = inputs.shape[1:]
    if len(sizes) == 1:
        return (sizes[0],), "first"
    if len(sizes) == 2:
        return (*sizes, 1), "first"
    first, last = (size <= _MOST_CHANNELS for size in (sizes[0], sizes[-1])) if len(sizes) == 3 else (False, False)
    if first == last:
        message = f"holds samples of shape {list(sizes)}, for which nothing can be proposed"
        raise ConfigError(Problem(place, f"{message}. {_GUIDE}"))
    return (sizes, "last") if last else ((*sizes[1:], sizes[0]), "first")


def _find_targets(targets: np.ndarray, place: str) -> tuple[Learns, int]:
    """What targets hold, and how many classes or numbers."""
    values = np.asarray(targets)
    if values.ndim > 2:
        message = f"holds targets of shape {list(values.shape[1:])}, for which nothing can be proposed"
        raise ConfigError(Problem(place, f"{message}. {_GUIDE}"))
    if not np.isfinite(values).all():
        raise DataError(Problem(place, "holds numbers that are not finite"))
    if values.ndim == 2 and values.shape[1] > 1:
        flags = bool(np.isin(values, (0, 1)).all())
        return ("classes" if flags else "number"), values.shape[1]
    distinct = np.unique(values)
    whole = bool((distinct == np.trunc(distinct)).all()) and distinct[0] >= 0
    if whole and len(distinct) > 1 and distinct[-1] < min(_MOST_CLASSES, max(len(values) // 2, 2)):
        return "class", int(distinct[-1]) + 1
    return "number", 1


def _measure(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each column (N, K); 1 instead of a deviation of 0."""
    std = values.std(0)
    return _round(values.mean(0)), _round(np.where(std > 0, std, 1.0))


def _round(numbers: np.ndarray) -> list[float]:
    return [float(f"{number:.6g}") for number in numbers]
