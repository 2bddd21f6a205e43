"""A learning-rate range test: the steps of a training whose rate grows from each to the next."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.tensors import tiny_as_zero
from rayrml.training.checkpoint_manager import Progress
from rayrml.training.epoch_loop import Worker
from rayrml.training.feeding import Feeder
from rayrml.training.rate_range import Divergence, RateRange
from rayrml.training.sample_order import TRAINING
from rayrml.training.step import Step, Trained
from rayrml.training.step_reports import Reporter
from rayrml.training.wishes import Wishes


class GrowingRate:
    """A training step with a larger learning rate each time, which asks to stop after the last rate or a divergence.

    Rates of several groups of parameters keep their proportions. All workers see the same losses, and stop together.

    Attributes:
        step: the training step.
        optimizer: its optimizer.
    """

    def __init__(self, step: Step, rates: RateRange):
        self.step = step
        self.optimizer = step.optimizer
        self._rates = rates
        self._divergence = Divergence()
        self._number = 0
        first = float(self.optimizer.param_groups[0]["lr"])
        self._factors = [float(group["lr"]) / first for group in self.optimizer.param_groups]

    def __call__(self, batch: torch.Tensor, target: torch.Tensor, num_samples: int, **more: Any) -> Trained:
        """Make a step from this worker's part of a global batch, as the step itself does."""
        rate = self._rates.rate(self._number)
        for group, factor in zip(self.optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        trained = self.step(batch, target, num_samples, **more)
        self._number += 1
        diverged = self._divergence.add(trained.loss.item())
        over = diverged or self._number == self._rates.num_steps
        return dataclasses.replace(trained, wishes=Wishes(stop=trained.wishes.stop or over))


def run_rate_test(worker: Worker, rates: RateRange) -> None:
    """Train with growing rates, epoch after epoch; the losses go to the driver, and nothing is saved.

    Raises:
        ConfigError: there is nothing to train on.
        DivergenceError: the loss is no longer finite, which ends the test.
    """
    source, trainee = worker.job.datasets.training, worker.trainee
    if source is None or trainee is None:
        raise ConfigError(Problem("neural_network.data.input_path", "is missing: there is nothing to train on"))
    with tiny_as_zero():
        feed = Feeder(worker.job, worker.workers, worker.device, worker.emit).feed(source, TRAINING)
        reporter = Reporter(worker.emit, worker.loss.term_names)
        step: Any = GrowingRate(worker.training_step(trainee), rates)  # used as the step that it contains
        try:
            for epoch in range(1, rates.num_steps + 1):
                if worker.train(step, feed, Progress(epoch), reporter) is not None:
                    break
                reporter.finish_epoch()
        finally:
            feed.close()
