"""Optimizers for large batches, which scale the step of each weight tensor by the tensor's own norm.

Biases and normalization parameters (tensors with one axis) are neither scaled nor decayed, as in the experiments and
the code of both papers' authors: their norms say nothing about the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn, optim

from rayrml.optimizers.gradient import Fraction, Nesterov

Group = dict[str, Any]


class Layerwise(optim.Optimizer):
    """An optimizer that updates one tensor after another, independently.

    Attributes:
        length: the norm of a tensor; another function where a parameter is a piece of it.
    """

    length: Callable[[torch.Tensor], torch.Tensor] = staticmethod(torch.linalg.vector_norm)

    def update(self, weights: torch.Tensor, gradient: torch.Tensor, group: Group) -> None:
        """Move `weights` by one step, in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step for all parameters that have a gradient; return the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, group)
        return loss


class LARS(Layerwise):
    """SGD whose step is scaled per tensor by eta * |w| / (|g| + weight_decay * |w|).

    Source: arXiv 1708.03888, Algorithm 1; as there, the momentum accumulates steps that include the learning rate.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: PositiveFloat = 0.01,
        momentum: Fraction = 0.0,
        weight_decay: NonNegativeFloat = 0.0,
        dampening: Fraction = 0.0,
        nesterov: Nesterov = False,
        eta: PositiveFloat = 1e-3,
    ):
        super().__init__(
            parameters,
            {
                "lr": learning_rate,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "dampening": dampening,
                "nesterov": nesterov,
                "eta": eta,
            },
        )

    def update(self, weights: torch.Tensor, gradient: torch.Tensor, group: Group) -> None:
        """Move `weights` by one step, in place."""
        step = gradient * group["lr"]
        if weights.ndim > 1:
            decay, length = group["weight_decay"], self.length(weights)
            ratio = _ratio(group["eta"] * length, self.length(gradient) + decay * length)
            step = step.add_(weights, alpha=group["lr"] * decay).mul_(ratio)
        weights.sub_(self._with_momentum(weights, step, group))

    def _with_momentum(self, weights: torch.Tensor, step: torch.Tensor, group: Group) -> torch.Tensor:
        momentum, state = group["momentum"], self.state[weights]
        if not momentum:
            return step
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = step.clone()
        else:
            state["momentum_buffer"].mul_(momentum).add_(step, alpha=1 - group["dampening"])
        velocity = state["momentum_buffer"]
        return step.add_(velocity, alpha=momentum) if group["nesterov"] else velocity


class LAMB(Layerwise):
    """Adam whose step r + weight_decay * w is scaled per tensor to the norm of w.

    Source: arXiv 1904.00962, Algorithm 2, whose function phi is the identity here.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: PositiveFloat = 0.01,
        beta1: Fraction = 0.9,
        beta2: Fraction = 0.999,
        weight_decay: NonNegativeFloat = 0.0,
        eps: PositiveFloat = 1e-8,
        amsgrad: bool = False,
    ):
        super().__init__(
            parameters,
            {
                "lr": learning_rate,
                "betas": (beta1, beta2),
                "weight_decay": weight_decay,
                "eps": eps,
                "amsgrad": amsgrad,
            },
        )

    def update(self, weights: torch.Tensor, gradient: torch.Tensor, group: Group) -> None:
        """Move `weights` by one step, in place."""
        step = self._adam(weights, gradient, group)
        ratio: float | torch.Tensor = 1.0
        if weights.ndim > 1:
            step.add_(weights, alpha=group["weight_decay"])
            ratio = _ratio(self.length(weights), self.length(step))
        weights.sub_(step.mul_(group["lr"] * ratio))

    def _adam(self, weights: torch.Tensor, gradient: torch.Tensor, group: Group) -> torch.Tensor:
        """Adam's ratio of the moments, both corrected for their bias towards zero."""
        beta1, beta2 = group["betas"]
        state = self.state[weights]
        if not state:
            state["step"] = 0
            names = ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []))
            state.update({name: torch.zeros_like(weights) for name in names})
        state["step"] += 1
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if group["amsgrad"]:
            square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
        root = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        return (mean / (1 - beta1 ** state["step"])).div_(root)


def _ratio(wanted: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return wanted / length, but 1 where either is 0: weights of norm 0 would otherwise stay there forever."""
    usable = (wanted > 0) & (length > 0)
    return torch.where(usable, wanted / torch.where(usable, length, 1.0), 1.0)


OPTIMIZERS = {"LARS": LARS, "LAMB": LAMB}
