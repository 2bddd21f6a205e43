"""Learning rates over the epochs: each row is a curve, and one curve or several in sequence make a schedule.

A curve gives the rate of an epoch as a multiple of the optimizer's own learning rate. In a sequence each curve begins
where that rate is whole, and lasts `num_epochs`; the last one, if it says nothing else, lasts as long as the training.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from rayrml.errors import ConfigError, Problem
from rayrml.lookup import Choice, choose

Share = Annotated[float, Field(ge=0, le=1)]
StartFactor = Annotated[float, Field(gt=0, le=1)]
Length = PositiveInt | None


def _increasing(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if any(a >= b for a, b in itertools.pairwise(milestones)):
        raise ValueError(f"expected epochs in increasing order, got {list(milestones)}")
    return milestones


Milestones = Annotated[tuple[PositiveInt, ...], Field(min_length=1), AfterValidator(_increasing)]


class Curve:
    """The learning rate of each epoch as a multiple of the optimizer's own.

    Attributes:
        factor: epochs since the curve began, from 0 -> the multiple.
        num_epochs: how long the curve lasts, None for as long as the training.
        verbose: print the rate of each epoch.
    """

    def __init__(self, factor: Callable[[int], float], num_epochs: int | None, verbose: bool):
        self.factor = factor
        self.num_epochs = num_epochs
        self.verbose = verbose

    def observe(self, loss: float | None) -> None:
        """Take note of the loss of the epoch that ends; a curve that is known in advance has no use for it."""

    def state_dict(self) -> dict[str, Any]:
        """What the curve has learnt from the epochs so far."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up again where `state_dict` was called."""


def step(
    epochs: int,
    /,
    *,
    gamma: PositiveFloat = 0.1,
    step_size: PositiveInt,
    num_epochs: Length = None,
    verbose: bool = False,
) -> Curve:
    """Multiplied by `gamma` after every `step_size` epochs."""
    return Curve(lambda epoch: gamma ** (epoch // step_size), num_epochs, verbose)


def multi_step(
    epochs: int,
    /,
    *,
    gamma: PositiveFloat = 0.1,
    milestones: Milestones,
    num_epochs: Length = None,
    verbose: bool = False,
) -> Curve:
    """Multiplied by `gamma` after each of the epochs in `milestones`."""
    return Curve(lambda epoch: gamma ** bisect_right(milestones, epoch), num_epochs, verbose)


def exponential(epochs: int, /, *, gamma: PositiveFloat, num_epochs: Length = None, verbose: bool = False) -> Curve:
    """Multiplied by `gamma` after every epoch."""
    return Curve(lambda epoch: gamma**epoch, num_epochs, verbose)


def warmup(epochs: int, /, *, num_epochs: PositiveInt, start_factor: StartFactor, verbose: bool = False) -> Curve:
    """Grows in equal steps from `start_factor` times the learning rate to the whole in `num_epochs` epochs."""
    return Curve(lambda epoch: start_factor + (1 - start_factor) * min(epoch / num_epochs, 1), num_epochs, verbose)


def cosine(epochs: int, /, *, final_factor: Share = 0.0, num_epochs: Length = None, verbose: bool = False) -> Curve:
    """Falls along half a cosine to `final_factor` times the learning rate. Source: arXiv 1608.03983, equation 5."""
    length = num_epochs or epochs
    return Curve(lambda epoch: _cosine(1.0, final_factor, epoch / length), num_epochs, verbose)


def one_cycle(
    epochs: int,
    /,
    *,
    rising: Share = 0.3,
    start_factor: Share = 0.04,
    final_factor: Share = 4e-6,
    num_epochs: Length = None,
    verbose: bool = False,
) -> Curve:
    """Rises from `start_factor` to the learning rate in the share `rising` of the epochs, then falls to `final_factor`.

    Source: arXiv 1708.07120, with the cosines and the defaults of PyTorch's OneCycleLR.
    """
    last = (num_epochs or epochs) - 1
    peak = rising * (last + 1) - 1

    def factor(epoch: int) -> float:
        if epoch <= peak:
            return _cosine(start_factor, 1.0, epoch / peak if peak > 0 else 1.0)
        return _cosine(1.0, final_factor, (epoch - max(peak, 0)) / max(last - max(peak, 0), 1))

    return Curve(factor, num_epochs, verbose)


def _cosine(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine, as `progress` goes from 0 to 1 and beyond."""
    return last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Plateau(Curve):
    """Multiplied by `gamma` when the loss has not fallen by the share `threshold` for more than `patience` epochs.

    After that it stays as it is for `cooldown` epochs. The loss is that of the evaluation, or without test data that
    of the training.
    """

    def __init__(
        self,
        epochs: int,
        /,
        *,
        gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        patience: NonNegativeInt = 10,
        threshold: NonNegativeFloat = 1e-4,
        cooldown: NonNegativeInt = 0,
        final_factor: Share = 0.0,
        num_epochs: Length = None,
        verbose: bool = False,
    ):
        super().__init__(lambda epoch: self.reached, num_epochs, verbose)
        self.gamma = gamma
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.final_factor = final_factor
        self.best = math.inf
        self.waited = 0
        self.resting = 0
        self.reached = 1.0

    def observe(self, loss: float | None) -> None:
        """Lower the rate if `loss` and those before it have not fallen."""
        if loss is None:
            raise ValueError("Plateau needs the loss of the epoch")
        # Not `best * (1 - threshold)`: the loss may be negative, and is infinite at first.
        improved = loss < self.best - self.threshold * abs(self.best) if math.isfinite(self.best) else loss < self.best
        self.best = loss if improved else self.best
        self.waited = 0 if improved or self.resting else self.waited + 1
        self.resting = max(self.resting - 1, 0)
        if self.waited > self.patience:
            self.reached = max(self.reached * self.gamma, self.final_factor)
            self.waited, self.resting = 0, self.cooldown

    def state_dict(self) -> dict[str, Any]:
        """The best loss, and how long ago it was."""
        return {name: getattr(self, name) for name in ("best", "waited", "resting", "reached")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up again where `state_dict` was called."""
        self.best, self.waited, self.resting, self.reached = (
            state[name] for name in ("best", "waited", "resting", "reached")
        )


class Schedule:
    """Sets the learning rate of an optimizer, epoch by epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, curves: Sequence[Curve]):
        self._optimizer = optimizer
        self._curves = curves
        # Kept in the optimizer's state too: a resumed one has some later rate in 'lr'.
        self._rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self._epoch = 0
        self._set()

    def step(self, loss: float | None) -> None:
        """End an epoch, whose loss may decide on the rate of the next one."""
        curve, epoch = self._now()
        if curve.num_epochs is None or epoch < curve.num_epochs:
            curve.observe(loss)
        self._epoch += 1
        self._set()

    @property
    def rate(self) -> float:
        """The learning rate of the epoch that comes next or is under way."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def verbose(self) -> bool:
        """Whether the rate of this epoch is to be printed."""
        return self._now()[0].verbose

    def state_dict(self) -> dict[str, Any]:
        """Numbers from which `load_state_dict` goes on."""
        return {"epoch": self._epoch, "curves": [curve.state_dict() for curve in self._curves]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, and set the rate of that epoch."""
        self._epoch = state["epoch"]
        for curve, inner in zip(self._curves, state["curves"], strict=True):
            curve.load_state_dict(inner)
        self._set()

    def _set(self) -> None:
        curve, epoch = self._now()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * curve.factor(epoch)

    def _now(self) -> tuple[Curve, int]:
        """The curve that holds now, and the epochs since it began; the last one stays at its end."""
        epoch = self._epoch
        for curve in self._curves[:-1]:
            length = curve.num_epochs or 0
            if epoch < length:
                return curve, epoch
            epoch -= length
        last = self._curves[-1]
        return last, epoch if last.num_epochs is None else min(epoch, last.num_epochs)


@dataclasses.dataclass(frozen=True)
class ScheduleChoice:
    """Validated rows of the schedulers, ready to be built (and to be sent to a worker and built there)."""

    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """The rows' names, in their order."""
        return ", ".join(choice.name for choice in self.choices)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """All arguments of each row, with its name as `type`."""
        return [{"type": choice.name, **choice.settings} for choice in self.choices]

    def build(self, optimizer: torch.optim.Optimizer, num_epochs: int) -> Schedule:
        """The schedule of `optimizer` in a training of `num_epochs`; sets the rate of the first epoch."""
        curves: list[Curve] = []
        for choice in self.choices:
            curves.append(choice.build(max(num_epochs, 1)))
            num_epochs -= curves[-1].num_epochs or 0
        return Schedule(optimizer, curves)


def choose_schedule(section: Any, path: str) -> ScheduleChoice:
    """The rows of `LR_SCHEDULERS` that a JSON object, or a list of objects in sequence, names.

    Raises:
        ConfigError: every mistake of the section, each with its JSON path below `path`.
    """
    listed = isinstance(section, list)
    parts = section if listed else [section]
    if not parts:
        raise ConfigError(Problem(path, "expected at least one scheduler, got an empty list"))
    choices: list[Choice] = []
    mistakes: list[Problem] = []
    for i, part in enumerate(parts):
        where = f"{path}.{i}" if listed else path
        try:
            choices.append(_choose_part(part, where, followed=i < len(parts) - 1))
        except ConfigError as error:
            mistakes += error.problems
    if mistakes:
        raise ConfigError(*mistakes)
    return ScheduleChoice(tuple(choices))


def _choose_part(part: Any, path: str, *, followed: bool) -> Choice:
    if not isinstance(part, Mapping):
        raise ConfigError(Problem(path, "expected an object with the key 'type'"))
    choice = choose(LR_SCHEDULERS, part, path)
    if followed and choice.settings["num_epochs"] is None:
        message = "this key is missing. A scheduler that another one follows must say how many epochs it lasts"
        raise ConfigError(Problem(f"{path}.num_epochs", message))
    return choice


LR_SCHEDULERS = {
    "Step": step,
    "MultiStep": multi_step,
    "Exponential": exponential,
    "Warmup": warmup,
    "Cosine": cosine,
    "OneCycle": one_cycle,
    "Plateau": Plateau,
}
