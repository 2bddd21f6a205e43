"""Runs in this process on one Ray, which starts with the first of them, and what the training steps get."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from rayrml.cluster import connection
from rayrml.cluster.allocation import Allocation
from rayrml.config.cluster import Ray
from rayrml.errors import RayrmlError
from rayrml.inference.outputs import Outputs
from rayrml.planning.plan import Plan, TrainingPlan
from rayrml.reporting.console import Console
from rayrml.reporting.messages import Message, Started
from rayrml.runs.runner import RunResult, execute
from rayrml.runs.training_run import make_job
from rayrml.training.epoch_loop import Worker
from rayrml.training.interrupts import Interrupts
from rayrml.training.step import TrainingStep
from rayrml.training.trainee import Trainee
from rayrml.workers import Workers
from tests.faults.fuzzing import complaint_about

CPU = torch.device("cpu")


@functools.cache
def start() -> Allocation:
    """Start Ray, and return the part of it that a run in this process takes."""
    os.environ.pop("RAY_ADDRESS", None)
    stack = contextlib.ExitStack()
    allocation = stack.enter_context(connection.connect(Ray(num_workers=1, use_gpu=False)))
    atexit.register(stack.close)
    return allocation


def run(plan: Plan, *, resume: bool = False, interrupt: bool = False) -> RunResult:
    """Execute a plan; if it is to be interrupted, after the first batch."""
    with Interrupts() as interrupts:

        def look(message: Message) -> None:
            if interrupt and isinstance(message, Started):
                interrupts.requested = True

        return execute(plan, start(), interrupts, resume=resume, console=Console(quiet=True), also=look)


def refusal(call: Callable[[], Any], *, placed: bool = True) -> RayrmlError | None:
    """The error with which a call ends, None if it returns. Raises RuntimeError if the error does not help the user."""
    try:
        call()
    except RayrmlError as error:
        complaint = complaint_about(error, placed=placed)
        if complaint is not None:
            raise RuntimeError(complaint) from error
        return error
    return None


class Pair(NamedTuple):
    """What a training step gets of one sample."""

    input: np.ndarray
    target: np.ndarray


def list_trained_pairs(plan: TrainingPlan) -> list[Pair]:
    """What the loss gets of each sample in the first epoch of training."""
    seen: list[Pair] = []
    worker = _Watched(make_job(plan, state_folder=None), seen)
    worker.run()
    return seen


class _Watched(Worker):
    """A worker that notes what its training steps get."""

    def __init__(self, job: Any, seen: list[Pair]):
        self._seen = seen
        super().__init__(job, Workers(), CPU, driver=_Nobody(), outputs=Outputs())

    def training_step(self, trainee: Trainee) -> Any:
        return _Noting(super().training_step(trainee), self._seen)


class _Noting:
    """A training step that notes what it gets."""

    def __init__(self, step: TrainingStep, seen: list[Pair]):
        self._step = step
        self._seen = seen
        self.optimizer = step.optimizer

    def __call__(self, images: torch.Tensor, target: torch.Tensor, *rest: Any, **more: Any) -> Any:
        self._seen += map(Pair, images.numpy().copy(), target.numpy().copy())
        return self._step(images, target, *rest, **more)


class _Nobody:
    """A driver that nobody watches."""

    def emit(self, message: Message) -> None:
        pass

    def asked_to_stop(self) -> bool:
        return False

    def unwritten(self) -> tuple[()]:
        return ()
