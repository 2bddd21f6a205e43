"""The learning rates of an optimizer's parameters: one rate, which each group of parameters has times its factor."""

from __future__ import annotations

import torch

FACTOR = "factor"  # a group's key, 1 without it


def base_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate that the configuration gives an optimizer, before schedules and factors."""
    return float(optimizer.defaults["lr"])


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Make `rate` the learning rate, of each group times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(FACTOR, 1.0)
