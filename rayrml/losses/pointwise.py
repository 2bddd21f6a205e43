"""Losses that compare each number of the output with the corresponding number of the target, and take the mean."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from pydantic import PositiveFloat
from torch.nn import functional
from typing_extensions import TypedDict

from rayrml.endings import Ending, Source, probabilities
from rayrml.errors import ConfigError, Problem
from rayrml.losses.loss import Loss
from rayrml.losses.outputs import Smoothing, members
from rayrml.tensors import constants


def bce(*, source: Source = "sigmoid", label_smoothing: Smoothing = None) -> Loss:
    """Binary cross entropy of the output's probabilities and targets in [0, 1] of the same shape.

    Class indices become 1 in the channel of their class and 0 in the others; a single channel is class 1 of two.
    Logarithms below -100 count as -100. With `label_smoothing` s, a target t counts as (1 - s) t + s / 2.
    """
    function = functools.partial(_binary_cross_entropy, source=source, smoothing=label_smoothing)
    # Each channel is a problem by itself.
    takes: Ending = "sigmoid_logits" if source == "logits" else source
    return Loss(function, targets="arrays", takes=takes, metric="accuracy", binary=True, accepts_labels=True)


class Statistics(TypedDict):
    """Mean and standard deviation of each number of the targets: (C,) each."""

    mean: list[float]
    std: list[PositiveFloat]


Standardize = bool | Statistics


def mse(*, source: Source | None = None, standardize: Standardize = False) -> Loss:
    """Mean of the squared differences; `source` tells what an output of classes means, and does not change the loss.

    With `standardize`, the network learns (target - mean) / std of each number of a table, and the loss is computed
    from these; predictions and metrics are in the table's unit. Mean and std are those of the training samples, or
    given.
    """
    return _differences(functional.mse_loss, source, standardize)


def mae(*, source: Source | None = None, standardize: Standardize = False) -> Loss:
    """Mean of the absolute differences; `source` and `standardize` as for MSE."""
    return _differences(functional.l1_loss, source, standardize)


def huber(*, delta: PositiveFloat = 1.0, source: Source | None = None, standardize: Standardize = False) -> Loss:
    """Half the squared difference up to `delta`, linear beyond it; `source` and `standardize` as for MSE.

    Source: Huber, Ann. Math. Stat. 35 (1964).
    """
    return _differences(functools.partial(functional.huber_loss, delta=delta), source, standardize)


def _differences(
    function: Callable[..., torch.Tensor], source: Source | None = None, standardize: Standardize = False
) -> Loss:
    statistics = standardize if isinstance(standardize, dict) else None
    std = None if statistics is None else statistics["std"]

    def checked(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _refuse_broadcasting(output, target)
        target = target.to(output.dtype)
        if std is None:
            return function(output, target)
        scale = _by_channel(std, output)  # the mean of both is the same, and does not change their difference
        return function(output / scale, target / scale)

    impose = None if statistics is None else functools.partial(_undo, **statistics)
    count = None if std is None else len(std)
    return Loss(checked, targets="arrays", metric=None, takes=source, impose=impose, num_values=count)


def _undo(output: torch.Tensor, *, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Standardized outputs (N, C, *spatial) in the targets' unit."""
    return output * _by_channel(std, output) + _by_channel(mean, output)


def _by_channel(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """(1, C, 1, ...) numbers for an output (N, C, *spatial)."""
    return constants(numbers, like).view(1, -1, *[1] * (like.ndim - 2))


def _binary_cross_entropy(
    output: torch.Tensor, target: torch.Tensor, *, source: Source, smoothing: float | None
) -> torch.Tensor:
    if not target.is_floating_point() and target.ndim == output.ndim - 1:
        target = members(output, target)
    _refuse_broadcasting(output, target)
    target = target.to(output.dtype)
    if smoothing:
        target = (1 - smoothing) * target + smoothing / 2
    if source == "logits":
        return functional.binary_cross_entropy_with_logits(output, target)
    try:
        return functional.binary_cross_entropy(probabilities(output, source), target)
    except RuntimeError as error:
        if "between 0 and 1" not in str(error):
            raise
        message = "BCE needs an output in [0, 1]. Expected a network that ends with a sigmoid"
        raise ConfigError(Problem("neural_network.loss.function", message)) from None


def _refuse_broadcasting(output: torch.Tensor, target: torch.Tensor) -> None:
    if output.shape != target.shape:
        shapes = f"{tuple(output.shape)} and a target {tuple(target.shape)}"
        raise ConfigError(Problem("neural_network.loss.function", f"needs equal shapes, got an output {shapes}"))


LOSSES = {"BCE": bce, "MSE": mse, "MAE": mae, "Huber": huber}
