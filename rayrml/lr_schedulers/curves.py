"""Learning rates over the epochs: each row of the table is a curve, a multiple of the optimizer's own rate.

Builders take the number of epochs that remain when the curve begins as a positional argument. Curves with the key `per`
are defined between epochs, too: with `step`, their rate is set before each step, at the epochs done until then.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Share = Annotated[float, Field(ge=0, le=1)]
StartFactor = Annotated[float, Field(gt=0, le=1)]
Length = PositiveInt | None
Frequency = Literal["epoch", "step"]


def _increasing(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if any(a >= b for a, b in itertools.pairwise(milestones)):
        raise ValueError(f"expected epochs in increasing order, got {list(milestones)}")
    return milestones


Milestones = Annotated[tuple[PositiveInt, ...], Field(min_length=1), AfterValidator(_increasing)]


class Curve:
    """The learning rate of each epoch as a multiple of the optimizer's own.

    Attributes:
        factor: epochs since the curve began, from 0 -> the multiple.
        num_epochs: how many epochs the curve lasts, None until the end of the run.
        verbose: whether to print the rate of each epoch.
        per_step: whether the rate is set before each step, at epochs that are not whole.
    """

    def __init__(
        self, factor: Callable[[float], float], num_epochs: int | None, verbose: bool, *, per: Frequency = "epoch"
    ):
        self.factor = factor
        self.num_epochs = num_epochs
        self.verbose = verbose
        self.per_step = per == "step"

    def observe(self, loss: float | None) -> None:
        """Record the loss of the epoch that ends; a curve that is known in advance ignores it."""


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


def exponential(
    epochs: int,
    /,
    *,
    gamma: PositiveFloat,
    num_epochs: Length = None,
    per: Frequency = "epoch",
    verbose: bool = False,
) -> Curve:
    """Multiplied by `gamma` after every epoch."""
    return Curve(lambda epoch: gamma**epoch, num_epochs, verbose, per=per)


def warmup(
    epochs: int,
    /,
    *,
    num_epochs: PositiveInt,
    start_factor: StartFactor,
    per: Frequency = "epoch",
    verbose: bool = False,
) -> Curve:
    """Grows linearly from `start_factor` times the learning rate to the full rate in `num_epochs` epochs."""

    def factor(epoch: float) -> float:
        return start_factor + (1 - start_factor) * min(epoch / num_epochs, 1)

    return Curve(factor, num_epochs, verbose, per=per)


def cosine(
    epochs: int,
    /,
    *,
    final_factor: Share = 0.0,
    num_epochs: Length = None,
    per: Frequency = "epoch",
    verbose: bool = False,
) -> Curve:
    """Falls along half a cosine to `final_factor` times the learning rate. Source: arXiv 1608.03983, equation 5."""
    length = num_epochs or epochs
    return Curve(lambda epoch: _cosine(1.0, final_factor, epoch / length), num_epochs, verbose, per=per)


def one_cycle(
    epochs: int,
    /,
    *,
    rising: Share = 0.3,
    start_factor: Share = 0.04,
    final_factor: Share = 4e-6,
    num_epochs: Length = None,
    per: Frequency = "epoch",
    verbose: bool = False,
) -> Curve:
    """Rises from `start_factor` to the learning rate in the share `rising` of the epochs, then falls to `final_factor`.

    Source: arXiv 1708.07120, with the cosines and the defaults of PyTorch's OneCycleLR.
    """
    length, unit = num_epochs or epochs, 0 if per == "step" else 1
    last = length - unit  # the epoch, or the end of it, with the final rate
    peak = rising * length - unit

    def factor(epoch: float) -> float:
        if epoch <= peak:
            return _cosine(start_factor, 1.0, epoch / peak if peak > 0 else 1.0)
        return _cosine(1.0, final_factor, (epoch - max(peak, 0)) / max(last - max(peak, 0), unit or 1e-9))

    return Curve(factor, num_epochs, verbose, per=per)


def _cosine(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine, as `progress` goes from 0 to 1 and beyond."""
    return last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


class Plateau(Curve):
    """Multiplied by `gamma` when the loss has not fallen by the share `threshold` for more than `patience` epochs.

    It then stays constant for `cooldown` epochs. The loss is the evaluation loss, or without test data the training
    loss.
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
        """Lower the rate if `loss` and the previous losses have not fallen."""
        if loss is None:
            raise ValueError("Plateau needs the loss of the epoch")
        if math.isnan(loss):
            return  # it says nothing about the rate: a sample that is not a number has spoiled it
        # Not `best * (1 - threshold)`: the loss may be negative, and is infinite at first.
        improved = loss < self.best - self.threshold * abs(self.best) if math.isfinite(self.best) else loss < self.best
        self.best = loss if improved else self.best
        self.waited = 0 if improved or self.resting else self.waited + 1
        self.resting = max(self.resting - 1, 0)
        if self.waited > self.patience:
            self.reached = max(self.reached * self.gamma, self.final_factor)
            self.waited, self.resting = 0, self.cooldown


LR_SCHEDULERS = {
    "Step": step,
    "MultiStep": multi_step,
    "Exponential": exponential,
    "Warmup": warmup,
    "Cosine": cosine,
    "OneCycle": one_cycle,
    "Plateau": Plateau,
}
