"""Everything that training changes: the network, and what updates it, epoch by epoch."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from rayrml.config.tables import Choice
from rayrml.errors import DivergenceError
from rayrml.inference.arithmetic import autocast_dtype
from rayrml.lr_schedulers import Schedule
from rayrml.networks.freezing import freeze, unfreeze
from rayrml.networks.network import Network
from rayrml.optimizers import base_rate
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.early_stopping import EarlyStopping
from rayrml.training.job import Job
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.optimizer_state import carry_state, restore_state
from rayrml.training.parameter_groups import build_optimizer
from rayrml.training.sharding import Sharding
from rayrml.training.weight_average import WeightAverage
from rayrml.workers import Workers


class Trainee:
    """A network in training.

    Attributes:
        network: on its device.
        optimizer: updates the parameters that are trained in the current epoch.
        sharding: divides that among workers; None if each updates all parameters.
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
        divided = job.sharding == "zero1" and workers.size > 1
        self.sharding = Sharding(network, workers) if divided else None
        self.optimizer = self._build()
        self.schedule: Schedule | None = None
        if job.schedule is not None:
            self.schedule = job.schedule.build(self.optimizer, job.config.num_epochs)
        device = next(network.parameters()).device
        scales = autocast_dtype(job.config.precision, device) == torch.float16
        self.scaler = LossScaler(device, network) if scales else None
        averaging = job.config.ema
        self.average = None if averaging is None else WeightAverage(network, averaging.decay)
        wanted = job.config.early_stopping
        self.stopping = None if wanted is None else EarlyStopping(wanted.patience, wanted.metric, wanted.min_delta)
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0

    @property
    def rate(self) -> float:
        """The learning rate with which the current epoch begins."""
        return base_rate(self.optimizer) if self.schedule is None else self.schedule.rate

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

    def restore(self, state: Checkpoint) -> None:
        """Go on where a checkpoint's run ended."""
        self.begin_epoch(state.epoch + 1)
        restore_state(self.optimizer, self._choice, self.network, state)
        if self.sharding is not None:
            self.sharding.drop_others(self.optimizer)
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

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """A block in which the network is the one that is evaluated and kept: the average, if there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def gather_optimizer(self) -> dict[str, Any]:
        """The state of the optimizer for a checkpoint of the first worker; all workers must call it."""
        if self.sharding is None:
            return self.optimizer.state_dict()
        return self.sharding.gather_state(self.optimizer) or {}

    def kept_network(self) -> dict[str, torch.Tensor]:
        """The parameters and buffers of the network that is evaluated and kept, by name."""
        averages = {} if self.average is None else self.average.weights()
        return {**self.network.state_dict(), **averages}

    def _build(self) -> torch.optim.Optimizer:
        job = self._job
        optimizer = build_optimizer(self._choice, self.network, rates=job.rates, decay_all=job.options.decay_all)
        if self.sharding is not None:
            self.sharding.drop_others(optimizer)
        return optimizer
