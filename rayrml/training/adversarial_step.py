"""Steps of generative adversarial training: one update of the critic, and after some of them one of the generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rayrml.inference import arithmetic
from rayrml.losses.adversarial import AdversarialLoss, clip_weights, constant_weights, critic_loss, generator_loss
from rayrml.networks.layers.normalization import part_statistics, share_statistics
from rayrml.tensors import to_input
from rayrml.training.step import Trained, TrainingStep
from rayrml.training.wishes import Wishes


@dataclasses.dataclass(frozen=True)
class Noise:
    """This worker's part of the random numbers of a step; they stand where a target does in other steps.

    Attributes:
        critic: (n, *shape) inputs of the generator for the samples that the critic compares with n real ones.
        mix: (n,) how much of each mixture of a real and a generated sample is real.
        generator: (m, *shape) inputs with which the generator itself is trained in this step; None if it is not.
        num_generated: how many of these all workers have together.
    """

    critic: torch.Tensor
    mix: torch.Tensor
    generator: torch.Tensor | None = None
    num_generated: int = 0

    def __getitem__(self, rows: slice) -> Noise:
        """That of some of the real samples."""
        return dataclasses.replace(self, critic=self.critic[rows], mix=self.mix[rows])


@dataclasses.dataclass
class Turns:
    """Whose turn it is.

    Attributes:
        critic_steps: updates of the critic for one of the generator.
        updates: of the critic, through all epochs.
    """

    critic_steps: int
    updates: int = 0

    @property
    def generator_is_next(self) -> bool:
        """Whether the generator is updated after the next update of the critic."""
        return (self.updates + 1) % self.critic_steps == 0

    @property
    def generator_was_last(self) -> bool:
        """Whether the generator was updated after the last update of the critic."""
        return self.updates > 0 and self.updates % self.critic_steps == 0


class CriticStep(TrainingStep):
    """One update of the critic, from real samples and as many generated ones, with no gradient for the generator.

    The loss is that of `critic_loss` for the global batch, penalty included: each worker's mean counts by its share of
    the samples.

    Args:
        generator: makes the samples, in training mode.
        critic: gives each sample a score.
        loss: weight of the penalty.
        optimizer: updates the critic.
        input_shape: of the generator's input for one sample.
        options: see `TrainingStep`.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        optimizer: torch.optim.Optimizer,
        *,
        input_shape: Sequence[int],
        **options: Any,
    ):
        super().__init__(critic, loss, optimizer, graphs=False, **options)
        self.computing = [generator, critic]
        self._generator = generator
        self._gradient_penalty = loss.gradient_penalty
        self._input_shape = tuple(input_shape)

    def _loss(self, batch: torch.Tensor, target: Noise) -> torch.Tensor:
        with arithmetic.autocast(batch, self.autocast):
            with torch.no_grad():
                generated = self._generator(to_input(target.critic))
            found = critic_loss(self.network, batch, generated, mix=target.mix, gradient_penalty=self._gradient_penalty)
        unknown = torch.zeros_like(found.wasserstein)  # the generator's loss
        self._terms = torch.stack([found.wasserstein, found.penalty, unknown])
        penalty = self.sharding.penalty()
        return found.total if penalty is None else found.total + penalty

    def _compute_in_vain(self, sample: torch.Tensor) -> None:
        noise = torch.zeros(1, *self._input_shape, dtype=sample.dtype, device=sample.device)
        (0 * self._loss(sample, Noise(noise, torch.zeros(1).to(sample)))).backward()


class GeneratorStep(TrainingStep):
    """One update of the generator, from random numbers alone, by scores of a critic that does not change.

    Args:
        generator: makes samples.
        critic: gives each sample a score, in training mode.
        loss: of both.
        optimizer: updates the generator.
        options: see `TrainingStep`.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        loss: AdversarialLoss,
        optimizer: torch.optim.Optimizer,
        **options: Any,
    ):
        of_one_piece = dataclasses.replace(loss, term_names=())
        super().__init__(generator, of_one_piece, optimizer, graphs=False, **options)
        self.computing = [generator, critic]
        self._critic = critic

    def __call__(
        self,
        batch: torch.Tensor,
        target: Any,
        num_samples: int,
        *,
        begin: int = 0,
        wishes: Wishes = Wishes(),  # noqa: B008 (immutable)
    ) -> Trained:
        """Update the generator from this worker's part of `num_samples` inputs; the target is not looked at."""
        with constant_weights(self._critic):
            return super().__call__(batch, target, num_samples, begin=begin, wishes=wishes)

    def _loss(self, batch: torch.Tensor, target: Any) -> torch.Tensor:
        with arithmetic.autocast(batch, self.autocast):
            loss = generator_loss(self._critic, self.network(to_input(batch)))
        penalty = self.sharding.penalty()
        return loss if penalty is None else loss + penalty

    def _compute_in_vain(self, sample: torch.Tensor) -> None:
        (0 * self._loss(sample, sample)).backward()


class AdversarialStep:
    """One update of the critic from a batch of real samples and, if it is its turn, one of the generator.

    Loss and gradient of the result are the critic's, its terms are those of `losses.adversarial.TERMS`: that of the
    generator is not a number in a step without its update.

    Batch normalization of the generator is by the global batch wherever that of other networks is. That of a critic
    with a penalty is by each worker's part: the penalty needs second derivatives, which that of a global batch lacks.

    Args:
        critic: updates the critic.
        generator: updates the generator.
        loss: of both.
        turns: whose turn it is; counts on.
        global_batch_norm: whether batch normalization is by the batch of all workers.
    """

    def __init__(
        self,
        critic: CriticStep,
        generator: GeneratorStep,
        loss: AdversarialLoss,
        turns: Turns,
        *,
        global_batch_norm: bool = True,
    ):
        self._critic, self._generator, self._turns = critic, generator, turns
        self._clip = loss.clip
        concerned = [generator.network, critic.network]
        if loss.gradient_penalty:
            part_statistics(concerned.pop())
        together = nn.ModuleList(concerned)
        statistics = share_statistics(together, critic.workers, everywhere=global_batch_norm)
        critic.statistics = generator.statistics = statistics

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The generator's."""
        return self._generator.optimizer

    def __call__(
        self,
        batch: torch.Tensor,
        target: Noise,
        num_samples: int,
        *,
        begin: int = 0,
        wishes: Wishes = Wishes(),  # noqa: B008 (immutable)
    ) -> Trained:
        """Train with this worker's part of a global batch of real samples and its random numbers."""
        trained = self._critic(batch, target, num_samples, begin=begin, wishes=wishes)
        if self._clip is not None:
            clip_weights(self._critic.own, self._clip)
        self._turns.updates += 1
        loss = torch.full_like(trained.loss, torch.nan)
        if target.generator is not None:
            second = self._generator(target.generator, target.generator, target.num_generated)
            loss = second.loss
            trained.compute_seconds += second.compute_seconds
            trained.reduce_seconds += second.reduce_seconds
        if trained.terms is not None:
            trained.terms = torch.cat([trained.terms[:2], loss[None].to(trained.terms)])
        return trained
