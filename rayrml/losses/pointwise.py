"""Losses that compare each number of the output with the corresponding number of the target, and take the mean."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from pydantic import PositiveFloat
from torch.nn import functional

from rayrml.endings import Ending, Source, probabilities
from rayrml.errors import ConfigError, Problem
from rayrml.losses.loss import Loss
from rayrml.losses.outputs import Smoothing, members


def bce(*, source: Source = "sigmoid", label_smoothing: Smoothing = None) -> Loss:
    """Binary cross entropy of the output's probabilities and targets in [0, 1] of the same shape.

    Class indices become 1 in the channel of their class and 0 in the others; a single channel is class 1 of two.
    Logarithms below -100 count as -100. With `label_smoothing` s, a target t counts as (1 - s) t + s / 2.
    """
    function = functools.partial(_binary_cross_entropy, source=source, smoothing=label_smoothing)
    # Each channel is a problem by itself.
    takes: Ending = "sigmoid_logits" if source == "logits" else source
    return Loss(function, targets="arrays", takes=takes, metric="accuracy", binary=True, accepts_labels=True)


def mse(*, source: Source | None = None) -> Loss:
    """Mean of the squared differences; `source` tells what an output of classes means, and does not change the loss."""
    return _differences(functional.mse_loss, source)


def mae(*, source: Source | None = None) -> Loss:
    """Mean of the absolute differences; `source` as for MSE."""
    return _differences(functional.l1_loss, source)


def huber(*, delta: PositiveFloat = 1.0, source: Source | None = None) -> Loss:
    """Half the squared difference up to `delta`, linear beyond it; `source` as for MSE.

    Source: Huber, Ann. Math. Stat. 35 (1964).
    """
    return _differences(functools.partial(functional.huber_loss, delta=delta), source)


def _differences(function: Callable[..., torch.Tensor], source: Source | None = None) -> Loss:
    def checked(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _refuse_broadcasting(output, target)
        return function(output, target.to(output.dtype))

    return Loss(checked, targets="arrays", metric=None, takes=source)


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
