"""Schedules of one curve or of several in sequence, from JSON to an optimizer whose rate they set.

In a sequence, each curve is relative to the optimizer's own rate and lasts `num_epochs`; the last one lasts to the
end of the run by default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rayrml.config.tables import Choice, choose
from rayrml.errors import ConfigError, Problem
from rayrml.lr_schedulers.curves import LR_SCHEDULERS, Curve
from rayrml.optimizers.rates import base_rate, set_rate


class Schedule:
    """Sets the learning rate of an optimizer, epoch by epoch, and within epochs where the curve asks for it."""

    def __init__(self, optimizer: torch.optim.Optimizer, curves: Sequence[Curve]):
        self._optimizer = optimizer
        self._curves = curves
        self._epoch = 0
        self._set()

    def step(self, loss: float | None) -> None:
        """End an epoch, whose loss may determine the rate of the next one."""
        curve, epoch = self._now()
        if curve.num_epochs is None or epoch < curve.num_epochs:
            curve.observe(loss)
        self._epoch += 1
        self._set()

    @property
    def rate(self) -> float:
        """The learning rate with which the current epoch begins, or the next one between epochs."""
        curve, epoch = self._now()
        return base_rate(self._optimizer) * curve.factor(epoch)

    @property
    def per_step(self) -> bool:
        """Whether the rate changes within this epoch."""
        return self._now()[0].per_step

    def move(self, part: float) -> float:
        """Set and return the rate after this part of the epoch, from 0 to 1; only if it changes within the epoch."""
        curve, epoch = self._now()
        reached = epoch + part if curve.num_epochs is None else min(epoch + part, curve.num_epochs)
        rate = base_rate(self._optimizer) * curve.factor(reached)
        set_rate(self._optimizer, rate)
        return rate

    @property
    def verbose(self) -> bool:
        """Whether to print the rate of this epoch."""
        return self._now()[0].verbose

    def replay(self, losses: Sequence[float | None]) -> None:
        """Go through the epochs of an earlier run, which had these losses, without training."""
        for loss in losses:
            self.step(loss)

    def take(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the rate of this optimizer from now on."""
        self._optimizer = optimizer
        self._set()

    def _set(self) -> None:
        set_rate(self._optimizer, self.rate)

    def _now(self) -> tuple[Curve, int]:
        """The current curve, and the epochs since it began; the last curve stays at its end."""
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
    """Validated rows of the scheduler table, ready to be built (here, or on a worker they are sent to)."""

    choices: tuple[Choice, ...]

    @property
    def name(self) -> str:
        """The rows' names, in order."""
        return ", ".join(choice.name for choice in self.choices)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """All arguments of each row, with its name as `type`."""
        return [{"type": choice.name, **choice.settings} for choice in self.choices]

    def build(self, optimizer: torch.optim.Optimizer, num_epochs: int) -> Schedule:
        """The schedule of `optimizer` for a run of `num_epochs`; sets the rate of the first epoch."""
        curves: list[Curve] = []
        for choice in self.choices:
            curves.append(choice.build(max(num_epochs, 1)))
            num_epochs -= curves[-1].num_epochs or 0
        return Schedule(optimizer, curves)


def choose_schedule(section: Any, path: str) -> ScheduleChoice:
    """The rows of `LR_SCHEDULERS` named by a JSON object, or by a list of objects in sequence.

    Raises:
        ConfigError: every mistake in the section, each with its JSON path below `path`.
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
        message = "this key is missing. Every scheduler except the last must set how many epochs it lasts"
        raise ConfigError(Problem(f"{path}.num_epochs", message))
    return choice
