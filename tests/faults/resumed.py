"""Runs that are resumed with another configuration: what counts is what it says, or it is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rayrml.metrics import METRICS
from rayrml.planning.plan import TrainingPlan
from rayrml.planning.preparation import prepare
from rayrml.reporting.history import from_csv
from rayrml.runs.runner import RunResult
from rayrml.saving import checkpoint_folder, checkpoints
from tests.faults import driver
from tests.faults.changes import change
from tests.faults.fuzzing import Case

_SIZE, _COUNT = 8, 12


@dataclasses.dataclass(frozen=True)
class Base:
    """A run that can be resumed.

    Attributes:
        folder: its samples in `samples`, and everything that it wrote in `out`.
        section: the section `neural_network` of its configuration, whose paths are relative to `folder`.
        history: the figures of its complete epochs.
        interrupted: whether it was interrupted in the epoch after these.
    """

    folder: Path
    section: dict[str, Any]
    history: Sequence[Mapping[str, float]]
    interrupted: bool


def _write_samples(folder: Path) -> None:
    random_numbers = np.random.default_rng(0)
    for number in range(_COUNT):
        image = random_numbers.integers(0, 256, (_SIZE, _SIZE), np.uint8)
        for path in (folder / "classes" / "abc"[number % 3], folder / "images"):
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / f"{number}.png")
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray((image > 90).astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    inputs = random_numbers.standard_normal((_COUNT, 5)).astype(np.float32)
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "targets.npy", inputs[:, :2] - inputs[:, 2:4])


def _layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


def _input(*shape: int) -> dict[str, Any]:
    return _layer("InputLayer", "input", batch_input_shape=[None, *shape])


def _sections() -> list[tuple[dict[str, Any], bool]]:
    """The section `neural_network` of each base, and whether its run is interrupted."""
    conv = _layer("Conv2D", "conv", filters=3, kernel_size=3, activation="relu")
    ends = [
        _layer("BatchNormalization", "norm"),
        _layer("Dropout", "drop", rate=0.25),
        _layer("Flatten", "flat"),
        _layer("Dense", "dense", units=3, activation="log_softmax"),
    ]
    classes = {"input_type": "images", "target_type": "labels", "input_path": "samples/classes", "grayscale": True}
    masks = {"type": "images", "input_path": "samples/images", "target_path": "samples/masks", "grayscale": True}
    arrays = {"type": "numpy", "input_path": "samples/inputs.npy", "target_path": "samples/targets.npy"}
    tested = {"test_input_path": "samples/inputs.npy", "test_target_path": "samples/targets.npy"}
    dense = [_layer("Dense", "first", units=4, activation="tanh"), _layer("Dense", "second", units=2)]
    pixels = [
        conv | {"config": conv["config"] | {"padding": "same"}},
        _layer("Conv2D", "last", filters=2, kernel_size=1),
    ]
    steps = {"type": "Step", "gamma": 0.5, "step_size": 1}
    warmup = [{"type": "Warmup", "num_epochs": 1, "start_factor": 0.1}, {"type": "Cosine"}]
    return [
        (_section([_input(8, 8, 1), conv, *ends], classes | {"test_share": 0.34}, "NLL",
                  {"type": "SGD", "momentum": 0.5, "lr_scheduler": steps}, interval=1), False),
        (_section([_input(5), *dense], arrays | tested, "MSE", {"type": "Adam", "lr_scheduler": {"type": "Plateau"}},
                  keep=1, early_stopping={"patience": 3}, metric="r2"), False),
        (_section([_input(8, 8, 1), *pixels], masks | {"test_share": 0.34, "preload": True}, "CrossEntropy",
                  {"type": "AdamW", "lr_scheduler": warmup}, metric="dice"), True),
        (_section([_input(8, 8, 1), conv, *ends], classes, "NLL", {"type": "RMSprop"}, keep="all"), True),
        (_section([_input(5), *dense], arrays, "Huber", {"type": "SGD"}, keep="best+last"), False),
    ]  # fmt: skip


def _section(
    layers: Any, data: Mapping[str, Any], loss: str, optimizer: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    kept = {key: more.pop(key) for key in ("keep", "interval") if key in more}
    return {
        "layers": layers,
        "data": {**data, "batch_size": 4},
        "num_epochs": 2,
        "outfile": "out/log.txt",
        "checkpoints": {"save": "out/model", "plots": False, **kept},
        "loss": {"function": loss},
        "optimizer": {"learning_rate": 0.01, **optimizer},
        **more,
    }


def _make(folder: Path, section: dict[str, Any], *, interrupted: bool) -> Base:
    """Train two epochs, or two and a batch of the third."""
    _write_samples(folder / "samples")
    os.chdir(folder)
    done = driver.run(prepare({"neural_network": section}))
    if interrupted:
        try:
            driver.run(prepare({"neural_network": {**section, "num_epochs": 4}}), resume=True, interrupt=True)
        except KeyboardInterrupt:
            pass
        else:
            raise RuntimeError("the run was not interrupted")
    return Base(folder, section, done.history, interrupted)


def cases(folder: Path) -> Case:
    """A run that is resumed with a changed configuration ends as that says, or is refused and changes no file."""
    bases = [
        _make(folder / f"base_{number}", section, interrupted=interrupted)
        for number, (section, interrupted) in enumerate(_sections())
    ]

    def case(r: random.Random) -> None:
        base, place = r.choice(bases), folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base.folder, place)
        os.chdir(place)
        section = copy.deepcopy(base.section)
        if r.random() < 0.7:
            section["num_epochs"] = len(base.history) + r.randrange(1, 3)
        made = [change(r, section) for _ in range(r.choice([1, 1, 2]))]
        try:
            _check(base, section, other=any(other for _, other in made))
        except Exception as error:
            error.add_note(f"{[name for name, _ in made]} of base {bases.index(base)}")
            raise

    return case


def _check(base: Base, section: dict[str, Any], *, other: bool) -> None:
    """Resume a run with another section; `other` says whether that makes it another network or other classes."""
    before = _list_files(Path("out"))
    plans: list[TrainingPlan] = []
    if driver.refusal(lambda: plans.append(prepare({"neural_network": section}))) is not None:
        return
    results: list[RunResult] = []
    refusal = driver.refusal(lambda: results.append(driver.run(plans[0], resume=True)), placed=False)
    if refusal is not None:
        _expect(_list_files(Path("out")) == before, f"refused, but files have changed: {refusal}")
        return
    _expect(not other, "another network or other classes were accepted")
    _check_figures(base, plans[0], results[0])
    _check_folder(base, plans[0], results[0])


def _check_figures(base: Base, plan: TrainingPlan, result: RunResult) -> None:
    nn, history, begun = plan.config.neural_network, result.history, len(base.history)
    _expect(history[:begun] == base.history, "the figures of earlier epochs have changed")
    _expect([figures["epoch"] for figures in history] == list(range(1, len(history) + 1)), "epochs are missing")
    last = max(nn.num_epochs, begun)
    early = nn.early_stopping is not None and begun <= len(history) < last  # it may be over already
    _expect(len(history) == last or early, f"{len(history)} epochs instead of {last}")
    for figures, rate in list(zip(history, _rates(plan, history), strict=True))[begun:]:
        _expect(math.isclose(figures["learning_rate"], rate, rel_tol=1e-6), f"the rate is not {rate}: {figures}")
        tested = {"test_loss", *filter(None, [plan.metric])} if plan.datasets.test_targets else set()
        known = {"epoch", "train_loss", "learning_rate", "seconds"}
        _expect(tested <= set(figures) | {plan.metric}, f"lacks {tested}: {figures}")
        strange = {name for name in figures if name not in known | tested and "second" not in name}
        _expect(not strange, f"has {strange}, but the metric is {plan.metric}")


def _rates(plan: TrainingPlan, history: Sequence[Mapping[str, float]]) -> list[float]:
    """The learning rate of each epoch of a run that had these figures from its beginning."""
    optimizer = plan.optimizer.build([torch.nn.Parameter(torch.zeros(2, 2))])
    schedule = None if plan.schedule is None else plan.schedule.build(optimizer, plan.config.neural_network.num_epochs)
    rates: list[float] = []
    for figures in history:
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if schedule is not None:
            schedule.step(figures.get("test_loss", figures["train_loss"]))
    return rates


def _check_folder(base: Base, plan: TrainingPlan, result: RunResult) -> None:
    """The checkpoints are those of one run, and the last of them is what the configuration says."""
    section, history = plan.config.neural_network.checkpoints, result.history
    there = {epoch: checkpoints.load(path) for epoch, path in checkpoint_folder.list_checkpoints("out/model").items()}
    best = checkpoints.load_if_exists("out/model/best.pt")
    for epoch, saved in there.items():
        _expect(saved.epoch == epoch, f"the checkpoint of epoch {epoch} is of epoch {saved.epoch}")
    for saved in (*there.values(), *filter(None, [best])):
        _expect(saved.history == history[: saved.epoch], f"epoch {saved.epoch} is of another run")
    for name in ("last_epoch.pt", "interrupted.pt"):
        _expect(not Path("out/model", name).exists(), f"{name} is still there")
    trained = len(history) > len(base.history)
    if section.keep != "best" or section.interval is not None:
        _expect(len(history) in there, f"the last epoch, {len(history)}, has no checkpoint: {sorted(there)}")
        if trained:
            _check_last(plan, there[len(history)])
    one_figure = plan.metric is not None or not any(set(figures) & set(METRICS) for figures in history)
    all_tested = plan.datasets.test_targets or not any("test_loss" in figures for figures in history)
    if trained and best is not None and one_figure and all_tested:
        _check_best(plan, best, history, begun=len(base.history))
    written = from_csv(Path("out/model/history.csv").read_bytes(), "")
    _expect(written == history, f"history.csv holds {written[-1:]}, not {history[-1:]}")
    lines = [line.split()[:2] for line in Path("out/log_train.txt").read_text().splitlines()]
    _expect(len(set(map(tuple, lines))) == len(lines), "a batch is twice in the log")


def _check_last(plan: TrainingPlan, last: checkpoints.Checkpoint) -> None:
    _expect(last.classes == plan.classes, f"the classes are {last.classes}, not {plan.classes}")
    _expect(last.layers == plan.layers, "the layers are not the configuration's")
    _expect(last.optimizer_type == plan.optimizer.name, f"the optimizer is {last.optimizer_type}")
    loss = {"function": plan.loss.name, **plan.loss.arguments}
    _expect(last.loss == loss, f"the loss is {last.loss}, not {loss}")
    modules, named = plan.network.module_names, plan.network.named_parameters()
    frozen = {modules[name] for name, first in plan.unfreezing.items() if first > last.epoch}
    names = [name for name, parameter in named if parameter.requires_grad and name.split(".")[0] not in frozen]
    _expect(sorted(last.parameters) == sorted(names), "the optimizer's parameters are others")
    _expect(bool(last.ema) == (plan.config.neural_network.ema is not None), "the average is not as configured")


def _check_best(
    plan: TrainingPlan, best: checkpoints.Checkpoint, history: Sequence[Mapping[str, float]], *, begun: int
) -> None:
    """The best checkpoint is that of the best epoch, by the figure that the configuration asks for."""
    tested = plan.datasets.test_targets
    name = plan.metric if tested and any(plan.metric in figures for figures in history) else None
    name = name or ("test_loss" if tested else "train_loss")
    known = [figures for figures in history if name in figures]
    costs = [figures[name] if name.endswith("loss") else -figures[name] for figures in known]
    cost = next((cost for figures, cost in zip(known, costs, strict=True) if figures["epoch"] == best.epoch), None)
    lowest = min(costs)
    ours = any(figures["epoch"] > begun for figures, c in zip(known, costs, strict=True) if c == lowest)
    _expect(cost == lowest or not ours, f"best.pt is of epoch {best.epoch}, not the best by {name}: {history}")


def _list_files(folder: Path) -> dict[str, bytes]:
    """The content of each file that a run makes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _expect(right: bool, otherwise: str) -> None:
    if not right:
        raise RuntimeError(otherwise)
