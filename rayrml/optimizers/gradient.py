"""Optimizers that take one step per gradient: PyTorch's implementations with the JSON's names and defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, ValidationInfo
from torch import nn, optim

Fraction = Annotated[float, Field(ge=0, lt=1)]


def _with_momentum(nesterov: bool, info: ValidationInfo) -> bool:
    if nesterov and (not info.data.get("momentum") or info.data.get("dampening")):
        raise ValueError("needs a momentum above 0 and no dampening")
    return nesterov


Nesterov = Annotated[bool, AfterValidator(_with_momentum)]


def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    momentum: Fraction = 0.0,
    weight_decay: NonNegativeFloat = 0.0,
    dampening: Fraction = 0.0,
    nesterov: Nesterov = False,
) -> optim.Optimizer:
    """Stochastic gradient descent, optionally with momentum."""
    return optim.SGD(
        parameters,
        lr=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        dampening=dampening,
        nesterov=nesterov,
        fused=True,
    )


def adagrad(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    lr_decay: NonNegativeFloat = 0.0,
    weight_decay: NonNegativeFloat = 0.0,
) -> optim.Optimizer:
    """Gradient descent scaled by the root of all squared gradients so far. Source: Duchi et al., JMLR 12 (2011)."""
    return optim.Adagrad(parameters, lr=learning_rate, lr_decay=lr_decay, weight_decay=weight_decay)


def adam(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
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


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    weight_decay: NonNegativeFloat = 0.0,
    eps: PositiveFloat = 1e-8,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam whose `weight_decay` acts on the weights, not on the gradient. Source: arXiv 1711.05101, Algorithm 2."""
    return optim.AdamW(
        parameters,
        lr=learning_rate,
        betas=(beta1, beta2),
        weight_decay=weight_decay,
        eps=eps,
        amsgrad=amsgrad,
        fused=True,
    )


def rmsprop(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 0.01,
    momentum: Fraction = 0.0,
    alpha: Fraction = 0.99,
    eps: PositiveFloat = 1e-8,
    centered: bool = False,
    weight_decay: NonNegativeFloat = 0.0,
) -> optim.Optimizer:
    """Gradient descent scaled by a running mean of squared gradients. Source: arXiv 1308.0850, equations 38-45."""
    return optim.RMSprop(
        parameters,
        lr=learning_rate,
        momentum=momentum,
        alpha=alpha,
        eps=eps,
        centered=centered,
        weight_decay=weight_decay,
    )


OPTIMIZERS = {"SGD": sgd, "Adagrad": adagrad, "Adam": adam, "AdamW": adamw, "RMSprop": rmsprop}
