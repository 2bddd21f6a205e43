"""What an optimizer keeps between its steps, found out by trying it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rayrml.optimizers.second_order import needs_closure


def try_step(build: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """An optimizer after a step with one parameter of shape (8, 8); before it if the step needs a closure.

    Args:
        build: parameters -> the optimizer.
    """
    weights = torch.nn.Parameter(torch.ones(8, 8))
    optimizer = build([weights])
    if not needs_closure(optimizer):
        weights.grad = torch.ones_like(weights)
        optimizer.step()
    return optimizer
