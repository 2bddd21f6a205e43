"""The Wasserstein distance of generated samples from real ones as a critic sees it, and what both networks minimize.

All figures are means over samples, the penalty too. So workers that weight those of their parts by their shares of the
global batch, as with any loss, add up to the figures and gradients of the whole batch.

Source: arXiv 1701.07875; with a gradient penalty, arXiv 1704.00028, algorithm 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import nn

from rayrml.losses.loss import Loss
from rayrml.tensors import to_float32, to_input

Critic = Callable[[torch.Tensor], torch.Tensor]
TERMS, SYMBOLS = ("wasserstein", "gradient_penalty", "generator_loss"), ("W", "GP", "G")


@dataclasses.dataclass(frozen=True)
class AdversarialLoss(Loss):
    """What a critic and a generator minimize in turn; of scores (N, 1) alone, it is the generator's loss.

    Attributes:
        critic_steps: updates of the critic for one of the generator.
        gradient_penalty: weight of the penalty, 0 for none.
        clip: the critic's weights are cut to [-clip, clip] after each of its updates; None if they are not.
    """

    critic_steps: int = 5
    gradient_penalty: float = 10.0
    clip: float | None = None


def wasserstein(
    *,
    critic_steps: PositiveInt = 5,
    gradient_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0,
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
) -> AdversarialLoss:
    """Difference between a critic's mean scores of generated and of real samples, for generative adversarial networks.

    The critic is updated `critic_steps` times for each update of the generator. `gradient_penalty` is the weight of the
    mean of (|gradient| - 1)^2 for mixtures of generated and real samples; without it (0), `clip` limits the critic's
    weights.

    Source: arXiv 1701.07875; with a gradient penalty, arXiv 1704.00028, algorithm 1.
    """
    return AdversarialLoss(
        _negative_mean,
        targets="noise",
        metric="swd",
        term_names=TERMS,
        term_symbols=SYMBOLS,
        critic_steps=critic_steps,
        gradient_penalty=gradient_penalty,
        clip=clip,
    )


class CriticLoss(NamedTuple):
    """What a critic minimizes, and its parts.

    Attributes:
        total: the loss, a scalar with the graph for backward.
        wasserstein: the mean score of real samples less that of generated ones, a scalar.
        penalty: the mean squared difference of the gradients' norms from 1, a scalar; 0 without a penalty.
    """

    total: torch.Tensor
    wasserstein: torch.Tensor
    penalty: torch.Tensor


def critic_loss(
    critic: Critic,
    real: torch.Tensor,
    generated: torch.Tensor,
    *,
    mix: torch.Tensor | None = None,
    gradient_penalty: float = 0.0,
) -> CriticLoss:
    """Mean D(generated) - mean D(real) + gradient_penalty * mean (|grad D(h)| - 1)^2 for h between both.

    Nothing is learnt from it about the generator. In one backward of `total`, each weight of the critic gets its
    gradient once, whatever the number of terms.

    Args:
        critic: samples (N, C, *spatial) -> a score for each of them.
        real: (N, C, *spatial) with N > 0, as floats or pixels in bytes.
        generated: of the same shape.
        mix: (N,) in [0, 1], how much of each h = mix * real + (1 - mix) * generated is real; needed for a penalty.
        gradient_penalty: weight of the penalty.

    Raises:
        ValueError: the shapes differ, or there is nothing to mix samples by.
    """
    real, generated = to_input(real), to_input(generated.detach())
    if real.shape != generated.shape:
        raise ValueError(f"real samples have shape {tuple(real.shape)}, generated ones {tuple(generated.shape)}")
    wasserstein = to_float32(critic(real)).mean() - to_float32(critic(generated)).mean()
    if not gradient_penalty:
        return CriticLoss(-wasserstein, wasserstein.detach(), torch.zeros_like(wasserstein))
    if mix is None or mix.shape != real.shape[:1]:
        raise ValueError("a gradient penalty needs one share for each sample to mix it by")
    penalty = (gradient_norms(critic, _mixed(real, generated, mix)) - 1).square().mean()
    total = gradient_penalty * penalty - wasserstein
    return CriticLoss(total, wasserstein.detach(), penalty.detach())


def gradient_norms(critic: Critic, samples: torch.Tensor) -> torch.Tensor:
    """(N,) the length of the gradient of each sample's score with respect to the whole sample (C, *spatial).

    They can be differentiated with respect to the critic's weights, whose own gradients are not changed here. Whatever
    autocast is on, everything is computed in float32 at least: the second derivatives would be too inexact.
    """
    samples = to_float32(samples).detach().requires_grad_()
    kind = "cpu" if samples.is_meta else samples.device.type  # tensors without numbers have no autocast
    with torch.enable_grad(), torch.autocast(kind, enabled=False):
        (gradient,) = torch.autograd.grad(critic(samples).sum(), samples, create_graph=True)
        # Not by a square root, which has no derivative where a gradient is zero: a critic of dead units would be NaN.
        return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def generator_loss(critic: Critic, generated: torch.Tensor) -> torch.Tensor:
    """- mean D(generated), a scalar with the graph for backward, in which the critic's weights are: `constant_weights`.

    Args:
        critic: samples (N, C, *spatial) -> a score for each of them.
        generated: (N, C, *spatial), with the generator's graph.
    """
    return -to_float32(critic(to_input(generated))).mean()


@contextlib.contextmanager
def constant_weights(network: nn.Module) -> Iterator[None]:
    """A block for forward and backward in which the network's weights get no gradients, but its inputs do.

    Afterwards, those are trained again that were trained before.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@torch.no_grad()
def clip_weights(weights: Iterable[torch.Tensor], limit: float) -> None:
    """Cut each number of the weights, or of a worker's parts of them, to [-limit, limit]."""
    weights = list(weights)
    if weights:
        torch._foreach_clamp_min_(weights, -limit)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_clamp_max_(weights, limit)  # pyright: ignore[reportPrivateImportUsage]


def _negative_mean(scores: torch.Tensor, target: object) -> torch.Tensor:
    return -scores.mean()


def _mixed(real: torch.Tensor, generated: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    real, generated = to_float32(real), to_float32(generated)
    shares = mix.to(real).view(-1, *(1,) * (real.ndim - 1))
    return to_input(shares * real + (1 - shares) * generated)


LOSSES = {"Wasserstein": wasserstein}
