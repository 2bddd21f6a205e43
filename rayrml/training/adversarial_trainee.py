"""A generator in training, together with its critic."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from rayrml.config.tables import Choice
from rayrml.data import noise
from rayrml.errors import ConfigError, Problem
from rayrml.losses import Loss
from rayrml.losses.adversarial import AdversarialLoss
from rayrml.networks.layers.layer import smallest
from rayrml.networks.network import Network
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.adversarial_step import AdversarialStep, CriticStep, GeneratorStep, Noise, Turns
from rayrml.training.feed import GlobalBatch
from rayrml.training.job import Job
from rayrml.training.step import Step
from rayrml.training.trainee import Kept, Trainee
from rayrml.workers import Workers


class AdversarialTrainee(Trainee):
    """A generator, which is what is evaluated and kept as other networks are, and the critic beside it.

    Attributes:
        critic: the critic in training, with an optimizer and a schedule of its own.
        turns: how often the critic was updated.
    """

    def __init__(self, job: Job, choice: Choice, network: Network, workers: Workers):
        """Begin with both networks before the first epoch; the generator's optimizer is of the row `choice`."""
        super().__init__(job, choice, network, workers)
        own = job.critic
        loss = job.loss.build()
        if own is None or own.optimizer is None or not isinstance(loss, AdversarialLoss):
            raise RuntimeError("a generator is trained by a critic")
        self._layers, self._optimizer_type = own.layers, own.optimizer.name
        self._seed, self._batch_size = job.config.seed, job.config.data.batch_size
        self._workers = workers
        self._input_shape = smallest(network.input_shapes[0])
        config = job.config.model_copy(update={"ema": None, "early_stopping": None})
        fields = {field.name: getattr(own, field.name) for field in dataclasses.fields(own)}
        of_critic = dataclasses.replace(job, config=config, unfreezing={}, critic=None, **fields)
        device = next(network.parameters()).device
        self.critic = Trainee(of_critic, own.optimizer, own.network.to(device), workers)
        self.turns = Turns(loss.critic_steps)

    @property
    def networks(self) -> list[Network]:
        """The generator and the critic."""
        return [self.network, self.critic.network]

    def make_step(self, loss: Loss, **options: Any) -> Step:
        """What trains both with a batch."""
        if not isinstance(loss, AdversarialLoss):
            raise RuntimeError("a generator is trained by a critic")
        options.pop("graphs")
        everywhere = options.pop("global_batch_norm")
        both = (self.network, self.critic.network, loss)
        critic, generator = self.critic, self
        of_critic = CriticStep(
            *both,
            critic.optimizer,
            input_shape=self._input_shape,
            scaler=critic.scaler,
            sharding=critic.sharding,
            **options,
        )
        options["sample_shape"] = self._input_shape
        of_generator = GeneratorStep(
            *both, generator.optimizer, scaler=generator.scaler, sharding=generator.sharding, **options
        )
        return AdversarialStep(of_critic, of_generator, loss, self.turns, global_batch_norm=everywhere)

    def complete_target(self, images: torch.Tensor, target: Any, batch: GlobalBatch, epoch: int) -> Noise:
        """The random numbers of a step; those of a sample follow from its place in the global batch."""
        own, workers = len(batch.own.positions), self._workers
        draws = self._draws(epoch, batch.number, own, batch.begin)
        parts = [noise.draw_inputs(draws, self._input_shape, "critic"), noise.draw_mix(draws)]
        inputs, mix = (torch.from_numpy(part).to(images.device) for part in parts)
        found = Noise(inputs, mix)
        if not self.turns.generator_is_next:
            return found
        draws = self._draws(epoch, batch.number, workers.share(self._batch_size), 0)
        inputs = torch.from_numpy(noise.draw_inputs(draws, self._input_shape, "generator"))
        return dataclasses.replace(found, generator=inputs.to(images.device), num_generated=self._batch_size)

    def _draws(self, epoch: int, number: int, count: int, begin: int) -> noise.Draws:
        return noise.draws_of_step(self._seed, epoch, number, noise.places_in_batch(count, begin, self._workers))

    def move_rate(self, part: float) -> float | None:
        """Set both rates after this part of the epoch; returns that of the generator, None if it stays as it is."""
        self.critic.move_rate(part)
        return super().move_rate(part)

    def after_step(self) -> None:
        """Take the generator's weights into their average if they have changed."""
        if self.turns.generator_was_last:
            super().after_step()

    def end_epoch(self, loss: float) -> None:
        """End an epoch, whose loss may determine the rates of the next one."""
        super().end_epoch(loss)
        self.critic.end_epoch(loss)

    def replay(self, losses: Sequence[float]) -> None:
        """Go through the epochs of an earlier run, which had these losses, without training."""
        super().replay(losses)
        self.critic.replay(losses)

    def load(self, state: Checkpoint, path: str) -> None:
        """Load both networks' weights. Raises ConfigError if there is no critic, or if shapes are others."""
        critic = state.of_critic()
        if critic is None:
            raise ConfigError(Problem(path, "holds no critic, so that no GAN can be resumed from it"))
        super().load(state, path)
        self.critic.load(critic, f"{path}: critic")

    def restore(self, state: Checkpoint) -> None:
        """Go on where a checkpoint's run ended."""
        super().restore(state)
        critic = state.of_critic()
        if critic is not None:
            self.critic.restore(critic)
            self.turns.updates = int(state.critic["updates"])

    def describe_skipped(self, epoch: int) -> str | None:
        """Sentences on the steps of an epoch that loss scaling has skipped, None if it has skipped none."""
        found = (trainee.describe_skipped(epoch) for trainee in (super(), self.critic))
        return ". ".join(sentence for sentence in found if sentence is not None) or None

    @contextlib.contextmanager
    def evaluated(self, weights: Mapping[str, torch.Tensor] | None = None) -> Iterator[None]:
        """A block in which each worker can compute with both networks, at its own pace."""
        with super().evaluated(weights), self.critic.evaluated():
            yield

    def gather(self) -> Kept:
        """What a checkpoint keeps of both."""
        kept, critic = super().gather(), self.critic.gather()
        # Running statistics change before the weights do, for which the writer has to be waited for.
        changing = {name: buffer.clone() for name, buffer in self.critic.network.named_buffers()}
        return kept._replace(
            critic={
                "layers": self._layers,
                "network": {**critic.network, **changing},
                "optimizer": critic.optimizer,
                "optimizer_type": self._optimizer_type,
                "parameters": critic.parameters,
                "loss_scaling": {} if self.critic.scaler is None else self.critic.scaler.state(),
                "updates": self.turns.updates,
            }
        )
