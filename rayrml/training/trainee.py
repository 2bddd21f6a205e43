"""Everything that training changes: the network, and what updates it, epoch by epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rayrml.config.tables import Choice
from rayrml.errors import DivergenceError
from rayrml.inference.arithmetic import autocast_dtype
from rayrml.losses import Loss
from rayrml.lr_schedulers import Schedule
from rayrml.networks.freezing import freeze, unfreeze
from rayrml.networks.network import Network
from rayrml.optimizers import base_rate
from rayrml.saving.checkpoints import Checkpoint, load_into
from rayrml.training.early_stopping import EarlyStopping
from rayrml.training.feed import GlobalBatch
from rayrml.training.job import Job
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.optimizer_state import carry_state, list_in_order, restore_state
from rayrml.training.parameter_groups import build_optimizer
from rayrml.training.sharding import divide
from rayrml.training.step import Step, TrainingStep
from rayrml.training.weight_average import WeightAverage
from rayrml.workers import Workers


class Kept(NamedTuple):
    """What a checkpoint keeps of a network in training; tensors of all workers where these have parts of them.

    Attributes:
        network: the parameters and buffers of the network that is evaluated, by name.
        optimizer: the optimizer's state.
        parameters: names of its parameters, in its order.
        average: what the moving average needs to go on, {} without one.
        critic: the critic of a generator, see `Checkpoint.critic`; {} without one.
    """

    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    parameters: list[str]
    average: dict[str, Any]
    critic: dict[str, Any] = {}  # noqa: RUF012 (never changed)


class Trainee:
    """A network in training.

    Attributes:
        network: on its device.
        optimizer: updates the parameters that are trained in the current epoch.
        sharding: what each worker keeps of weights, gradients and the optimizer's state.
        schedule: sets the optimizer's learning rate; None for a constant one.
        scaler: scales the loss, None without loss scaling.
        average: of the weights, which is evaluated in their place; None if there is none.
        stopping: decides whether the run ends early; None if it never does.
        history: the figures of all epochs so far.
        seconds: training time so far.
    """

    def __init__(self, job: Job, choice: Choice, network: Network, workers: Workers):
        """Begin with the network before the first epoch; the optimizer is of the row `choice`."""
        self._job = job
        self._choice = choice
        self._frozen = dict(job.unfreezing)
        self.network = network
        freeze(network, self._frozen)
        self.sharding = divide(job.sharding, network, workers, job.compression)
        self.optimizer = self._build()
        self.schedule: Schedule | None = None
        if job.schedule is not None:
            self.schedule = job.schedule.build(self.optimizer, job.config.num_epochs)
        device = next(network.parameters()).device
        scales = autocast_dtype(job.config.precision, device) == torch.float16
        self.scaler = LossScaler(device, network) if scales else None
        averaging = job.config.ema
        self.average = None if averaging is None else WeightAverage(network, averaging.decay, self.sharding)
        wanted = job.config.early_stopping
        self.stopping = None if wanted is None else EarlyStopping(wanted.patience, wanted.metric, wanted.min_delta)
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0

    @property
    def networks(self) -> list[Network]:
        """All networks that are trained."""
        return [self.network]

    @property
    def rate(self) -> float:
        """The learning rate with which the current epoch begins."""
        return base_rate(self.optimizer) if self.schedule is None else self.schedule.rate

    def make_step(self, loss: Loss, **options: Any) -> Step:
        """What trains with a batch; see `TrainingStep` for the options."""
        own: dict[str, Any] = {"scaler": self.scaler, "sharding": self.sharding}
        return TrainingStep(self.network, loss, self.optimizer, **own, **options)

    def complete_target(self, images: torch.Tensor, target: Any, batch: GlobalBatch, epoch: int) -> Any:
        """The target of a step of an epoch, for samples of a `batch` that have become `images`.

        Inputs serve as targets where these are None.
        """
        return images if target is None else target

    def begin_epoch(self, epoch: int) -> list[str]:
        """Train the layers that are no longer frozen in this epoch; returns their names, with those of their models.

        If there are any, the optimizer is another one.
        """
        due = [name for name, first in self._frozen.items() if first <= epoch]
        if due:
            for name in due:
                del self._frozen[name]
            unfreeze(self.network, due)
            before, self.optimizer = self.optimizer, self._build()
            carry_state(before, self.optimizer)
            if self.schedule is not None:
                self.schedule.take(self.optimizer)
        full = self.network.full_names() if due else {}
        return [full[name] for name in due]

    def move_rate(self, part: float) -> float | None:
        """Set the rate after this part of the epoch, from 0 to 1, and return it; None if it stays as it is."""
        moves = self.schedule is not None and self.schedule.per_step
        return self.schedule.move(part) if self.schedule is not None and moves else None

    def after_step(self) -> None:
        """Take the weights after a step into their average."""
        if self.average is not None:
            self.average.update()

    def end_epoch(self, loss: float) -> None:
        """End an epoch, whose loss may determine the rate of the next one."""
        if self.schedule is not None:
            self.schedule.step(loss)

    def replay(self, losses: Sequence[float]) -> None:
        """Go through the epochs of an earlier run, which had these losses, without training."""
        if self.schedule is not None:
            self.schedule.replay(losses)

    def restore(self, state: Checkpoint) -> None:
        """Go on where a checkpoint's run ended."""
        self.begin_epoch(state.epoch + 1)
        sharding = self.sharding
        restore_state(self.optimizer, self._choice, self.network, state, names=sharding.names(), part=sharding.part)
        sharding.adapt(self.optimizer)
        if self.scaler is not None:
            self.scaler.restore(state.loss_scaling)
        if self.average is not None:
            self.average.restore(state.network, state.ema)

    def describe_skipped(self, epoch: int) -> str | None:
        """A sentence on the steps of an epoch that loss scaling has skipped, None if it has skipped none.

        Raises:
            DivergenceError: their losses or gradients are not finite however the loss is scaled.
        """
        skipped = 0 if self.scaler is None else self.scaler.take_skipped()
        if self.scaler is None or not skipped:
            return None
        if self.scaler.exhausted:
            what = f"the loss or its gradient overflows fp16 again and again, at last in epoch {epoch}"
            raise DivergenceError(f"{what}. A smaller learning_rate may help")
        steps = "1 step" if skipped == 1 else f"{skipped} steps"
        scale = f"the loss scale is now {self.scaler.scale.item():g}"
        return f"Skipped {steps} of epoch {epoch}, whose loss or gradient was too large for fp16; {scale}"

    @contextlib.contextmanager
    def evaluated(self, weights: Mapping[str, torch.Tensor] | None = None) -> Iterator[None]:
        """A block in which each worker can compute with the network that is evaluated and kept, at its own pace.

        That is the average, if there is one, or else `weights`, the state of a network, where they are given.
        """
        with contextlib.ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.applied())
            if weights is not None:
                stack.enter_context(self._replaced(weights))
            stack.enter_context(self.sharding.whole())
            yield

    def gather(self) -> Kept:
        """What a checkpoint of the first worker keeps, which others need not have; all workers must call it."""
        own = self.sharding.names()
        averages = {} if self.average is None else self.average.weights()
        weights = self.sharding.gather({name: part.detach() for part, name in own.items()} | averages)
        average = {} if self.average is None else self.average.state()
        if average:
            average["raw"] = self.sharding.gather(average["raw"])
        optimizer = self.sharding.gather_state(self.optimizer)
        return Kept({**self.network.state_dict(), **weights}, optimizer, list_in_order(self.optimizer, own), average)

    def load(self, state: Checkpoint, path: str) -> None:
        """Load the weights in training of a checkpoint. Raises ConfigError if their shapes are others."""
        load_into(self.network, state.in_training, path, part=self.sharding.part)

    @contextlib.contextmanager
    def _replaced(self, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
        own = self.network.state_dict()
        last = {name: tensor.clone() for name, tensor in own.items()}
        self.network.load_state_dict({name: self.sharding.part(own[name], tensor) for name, tensor in weights.items()})
        try:
            yield
        finally:
            self.network.load_state_dict(last)

    def _build(self) -> torch.optim.Optimizer:
        job, own = self._job, self.sharding.own
        rates, decay_all = job.rates, job.options.decay_all
        optimizer = build_optimizer(self._choice, self.network, rates=rates, decay_all=decay_all, own=own)
        self.sharding.adapt(optimizer)
        return optimizer
