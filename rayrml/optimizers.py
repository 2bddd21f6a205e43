"""Optimizers: JSON's names and defaults, on PyTorch's implementations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn, optim

Momentum = Annotated[float, Field(ge=0, lt=1)]


def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    momentum: Momentum = 0.0,
    weight_decay: NonNegativeFloat = 0.0,
    dampening: NonNegativeFloat = 0.0,
    nesterov: bool = False,
) -> optim.Optimizer:
    """Stochastic gradient descent, with momentum if wanted."""
    return optim.SGD(
        parameters,
        lr=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        dampening=dampening,
        nesterov=nesterov,
        fused=True,
    )


def adam(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    beta1: Momentum = 0.9,
    beta2: Momentum = 0.999,
    weight_decay: NonNegativeFloat = 0.0,
    eps: PositiveFloat = 1e-8,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam, with L2 regularization by `weight_decay`. Source: arXiv 1412.6980, Algorithm 1."""
    return optim.Adam(
        parameters,
        lr=learning_rate,
        betas=(beta1, beta2),
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=amsgrad,
        fused=True,
    )


OPTIMIZERS = {"SGD": sgd, "Adam": adam}
