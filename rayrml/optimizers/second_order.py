"""Optimizers that evaluate one batch many times, and so need a closure that recomputes its loss and gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import PositiveFloat, PositiveInt
from torch import nn, optim

from rayrml.errors import ConfigError, Problem


class ByClosure:
    """Marks the optimizers whose `step` needs a function that computes loss and gradient."""


class Hessian(optim.LBFGS, ByClosure):
    """L-BFGS with a strong Wolfe line search: minimizes each batch's loss until a tolerance or limit is reached.

    A batch is done when its largest gradient falls to `absolute_tolerance`, or the change in loss or weights to
    `relative_tolerance`. Source: Nocedal & Wright, Numerical Optimization, Algorithms 7.4 and 3.5.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: PositiveFloat = 1.0,
        max_iterations: PositiveInt = 2000,
        max_func_eval: PositiveInt = 4000,
        absolute_tolerance: PositiveFloat = 1e-8,
        relative_tolerance: PositiveFloat = 1e-8,
    ):
        super().__init__(
            parameters,
            lr=learning_rate,
            max_iter=max_iterations,
            max_eval=max_func_eval,
            tolerance_grad=absolute_tolerance,
            tolerance_change=relative_tolerance,
            line_search_fn="strong_wolfe",
        )


def needs_closure(optimizer: optim.Optimizer | Callable[..., optim.Optimizer]) -> bool:
    """Whether an optimizer, or what a row of the table builds, needs a function that computes the gradient."""
    return issubclass(_kind(optimizer), ByClosure)


def refuse_clipping(optimizer: optim.Optimizer | Callable[..., optim.Optimizer]) -> None:
    """Check that an optimizer, or what a row of the table builds, can use clipped gradients.

    Raises:
        ConfigError: it computes the gradients itself.
    """
    if needs_closure(optimizer):
        name = _kind(optimizer).__name__
        message = f"cannot be used with the {name} optimizer, whose line search needs the unclipped gradient"
        raise ConfigError(Problem("neural_network.gradient_clip", message))


def _kind(optimizer: optim.Optimizer | Callable[..., optim.Optimizer]) -> type:
    return optimizer if isinstance(optimizer, type) else type(optimizer)


OPTIMIZERS = {"Hessian": Hessian}
