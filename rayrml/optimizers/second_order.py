"""Optimizers that look at one batch many times, and so need a closure that gives its loss and gradient anew."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import PositiveFloat, PositiveInt
from torch import nn, optim


def hessian(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: PositiveFloat = 1.0,
    max_iterations: PositiveInt = 2000,
    max_func_eval: PositiveInt = 4000,
    absolute_tolerance: PositiveFloat = 1e-8,
    relative_tolerance: PositiveFloat = 1e-8,
) -> optim.Optimizer:
    """L-BFGS with a strong Wolfe line search: each batch is minimized until a tolerance or a limit is reached.

    `absolute_tolerance` is the largest gradient and `relative_tolerance` the change of loss and weights at which a
    batch is done. Source: Nocedal & Wright, Numerical Optimization, Algorithms 7.4 and 3.5.
    """
    return optim.LBFGS(
        parameters,
        lr=learning_rate,
        max_iter=max_iterations,
        max_eval=max_func_eval,
        tolerance_grad=absolute_tolerance,
        tolerance_change=relative_tolerance,
        line_search_fn="strong_wolfe",
    )


def needs_closure(optimizer: optim.Optimizer) -> bool:
    """Whether the optimizer's `step` must be given a function that computes loss and gradient."""
    return isinstance(optimizer, optim.LBFGS)


OPTIMIZERS = {"Hessian": hessian}
