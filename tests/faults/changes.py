"""Changes of the `neural_network` section of a configuration, or of its classes, between a run and its resumption."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayrml.losses import LOSSES
from rayrml.metrics import METRICS
from rayrml.optimizers import OPTIMIZERS

_SCHEDULES: list[Any] = [
    None,
    {"type": "Step", "gamma": 0.1, "step_size": 1},
    {"type": "Step", "gamma": 0.5, "step_size": 3},
    {"type": "MultiStep", "milestones": [1, 3], "gamma": 0.5},
    {"type": "Exponential", "gamma": 0.9},
    {"type": "Cosine"},
    {"type": "Cosine", "per": "step"},
    {"type": "OneCycle"},
    {"type": "Warmup", "num_epochs": 3, "start_factor": 0.1},
    {"type": "Plateau", "patience": 1},
    {"type": "Plateau"},
    [{"type": "Warmup", "num_epochs": 2}, {"type": "Exponential", "gamma": 0.5}],
]
_TRANSFORMS: list[Any] = [
    [],
    [{"random_rotate": 10}],
    [{"random_rotate": 10}, {"random_zoom": 0.1}],
    [{"normalize": {"mean": 0.5, "std": 0.5}}],
    [{"mixup": 0.2}],
    [{"jitter_crop": 0.1}],
    [{"resize": [8, 8]}],
]
_KEEPS: list[Any] = ["best+last", "best", "last", "all", 1, 2, 5, None]


def change(r: random.Random, section: dict[str, Any]) -> tuple[str, bool]:
    """Make a random change; return its name, and whether the network or the classes are then surely others."""
    made = r.choice(_CHANGES)
    return made.__name__.strip("_"), bool(made(r, section))


def _schedule(r: random.Random, section: dict[str, Any]) -> None:
    _set(section["optimizer"], "lr_scheduler", r.choice(_SCHEDULES))


def _rate(r: random.Random, section: dict[str, Any]) -> None:
    section["optimizer"]["learning_rate"] = r.choice([0.1, 0.01, 1e-5, 1])


def _optimizer(r: random.Random, section: dict[str, Any]) -> None:
    schedule = section["optimizer"].get("lr_scheduler")
    section["optimizer"] = {"type": r.choice(sorted(OPTIMIZERS))}
    _set(section["optimizer"], "lr_scheduler", schedule)


def _momentum(r: random.Random, section: dict[str, Any]) -> None:
    key, value = r.choice(
        [
            ("momentum", 0.9),
            ("momentum", 0.0),
            ("weight_decay", 0.1),
            ("amsgrad", True),
            ("decay_all", False),
            ("learning_rates", {"dense*": 0.1}),
        ]
    )
    section["optimizer"][key] = value


def _epochs(r: random.Random, section: dict[str, Any]) -> None:
    section["num_epochs"] = r.randrange(1, 6)


def _kept(r: random.Random, section: dict[str, Any]) -> None:
    _set(section["checkpoints"], "keep", r.choice(_KEEPS))


def _interval(r: random.Random, section: dict[str, Any]) -> None:
    _set(section["checkpoints"], "interval", r.choice([None, 1, 2, 3]))


def _stopping(r: random.Random, section: dict[str, Any]) -> None:
    metric = r.choice(["train_loss", "test_loss", *METRICS])
    wanted = {"patience": r.randrange(1, 4), "metric": metric, "min_delta": r.choice([0.0, 0.1, 100.0])}
    _set(section, "early_stopping", r.choice([None, wanted, wanted, wanted]))


def _metric(r: random.Random, section: dict[str, Any]) -> None:
    _set(section, "metric", r.choice([None, *METRICS]))


def _loss(r: random.Random, section: dict[str, Any]) -> None:
    section["loss"] = {"function": r.choice(sorted(LOSSES))}


def _loss_settings(r: random.Random, section: dict[str, Any]) -> None:
    key, value = r.choice([
        ("label_smoothing", 0.1), ("gamma", 3.0), ("delta", 0.5), ("ignore_index", 1), ("weight", "balanced"),
    ])  # fmt: skip
    section["loss"][key] = value


def _numbers(r: random.Random, section: dict[str, Any]) -> None:
    key, value = r.choice([
        ("seed", 1), ("seed", 7), ("precision", "bf16"), ("precision", "auto"), ("gradient_clip", 0.1),
        ("gradient_clip", 10.0), ("debug", True), ("outfile", "out/other.txt"), ("ema", {"decay": 0.5}), ("ema", None),
        ("precision", "fp16"), ("unfreeze", {"epoch": 2, "layers": "dense*"}), ("unfreeze", None),
    ])  # fmt: skip
    section[key] = value


def _data(r: random.Random, section: dict[str, Any]) -> None:
    key, value = r.choice([
        ("batch_size", 1), ("batch_size", 3), ("batch_size", 100), ("test_batch_size", 1), ("preload", True),
        ("preload", False), ("on_bad_sample", "skip"), ("test_share", 0.2), ("test_share", 0.5), ("test_share", None),
        ("test_output_path", "out/predictions"), ("sampling", "balanced"),
    ])  # fmt: skip
    _set(section["data"], key, value)


def _transforms(r: random.Random, section: dict[str, Any]) -> None:
    key = r.choice(["transforms", "input_transforms"])
    section["data"][key] = r.choice(_TRANSFORMS)


def _frozen(r: random.Random, section: dict[str, Any]) -> None:
    config = r.choice(section["layers"][1:])["config"]
    config["trainable"] = not config.get("trainable", True)


def _dropout(r: random.Random, section: dict[str, Any]) -> None:
    layers = section["layers"]
    found = [layer for layer in layers if layer["class_name"] == "Dropout"]
    if found and r.random() < 0.5:
        layers.remove(found[0])
    else:
        layers.insert(r.randrange(1, len(layers)), {"class_name": "Dropout", "config": {"rate": r.choice([0.1, 0.5])}})


def _penalty(r: random.Random, section: dict[str, Any]) -> None:
    layer = r.choice([layer for layer in section["layers"] if layer["class_name"] in ("Conv2D", "Dense")])
    layer["config"]["kernel_regularizer"] = {"class_name": "L2", "config": {"l2": r.choice([0.0, 0.01])}}


def _activation(r: random.Random, section: dict[str, Any]) -> bool:
    config = section["layers"][1]["config"]
    before = config.get("activation")
    config["activation"] = r.choice(["relu", "tanh", "elu", "sigmoid", "linear"])
    return config["activation"] != before


def _size(r: random.Random, section: dict[str, Any]) -> bool:
    config = section["layers"][1]["config"]
    key = "units" if "units" in config else "filters"
    config[key] += 1
    return True


def _strides(r: random.Random, section: dict[str, Any]) -> None:
    layer = section["layers"][1]
    if layer["class_name"] == "Conv2D":
        layer["config"]["strides"] = r.choice([1, [1, 1], 2])


def _added(r: random.Random, section: dict[str, Any]) -> bool:
    layers = section["layers"]
    at = r.randrange(2, len(layers) + 1)
    kind = r.choice(["ReLU", "BatchNormalization"])
    layers.insert(at, {"class_name": kind, "config": {"name": f"added_{at}"}})
    return kind == "BatchNormalization" or layers[at - 1]["config"].get("activation") != "relu"


def _renamed(r: random.Random, section: dict[str, Any]) -> bool:
    layer = r.choice(section["layers"][1:])
    layer["config"]["name"] += "_x"
    return layer["class_name"] in ("Conv2D", "Dense", "BatchNormalization")


def _classes(r: random.Random, section: dict[str, Any]) -> bool:
    """Rename, add, remove or swap classes."""
    folder = Path("samples/classes")
    there = sorted(path for path in folder.iterdir())
    if r.random() < 0.3:
        there[0].rename(folder / "0")
        there[1].rename(there[0])
        (folder / "0").rename(there[1])
        return False  # the same names
    if r.random() < 0.3:
        r.choice(there).rename(folder / r.choice(["z", "0", "bb"]))
    elif r.random() < 0.5:
        shutil.copytree(r.choice(there), folder / "d")
    else:
        shutil.rmtree(r.choice(there))
    return section["data"]["input_path"] == str(folder)


def _set(section: dict[str, Any], key: str, value: Any) -> None:
    """Set a key, or remove it if there is no value."""
    if value is None:
        section.pop(key, None)
    else:
        section[key] = value


_CHANGES: list[Callable[[random.Random, dict[str, Any]], bool | None]] = [
    _schedule, _schedule, _rate, _optimizer, _momentum, _epochs, _kept, _interval, _stopping, _stopping, _metric,
    _metric, _loss, _loss_settings, _numbers, _data, _data, _transforms, _frozen, _dropout, _penalty, _activation,
    _size, _strides, _added, _renamed, _classes,
]  # fmt: skip
