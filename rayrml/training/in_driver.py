"""Training with the driver itself as the only worker, which needs neither Ray Train nor another process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rayrml.cluster.allocation import Allocation
from rayrml.inference.outputs import Outputs
from rayrml.memory import keep_freed_memory
from rayrml.reporting.messages import BatchRow, Emit, Message
from rayrml.training.epoch_loop import Worker
from rayrml.training.interrupts import Interrupts
from rayrml.training.job import Job
from rayrml.training.rate_test import run_rate_test
from rayrml.workers import Workers


def warm_up() -> None:
    """Import what torch otherwise imports when the first optimizer is built, which takes seconds."""
    import torch._dynamo  # noqa: F401


def run_in_driver(job: Job, emit: Emit, allocation: Allocation, interrupts: Interrupts) -> None:
    """Train in this process, with the same code as each of several workers. Raises what that raises."""
    keep_freed_memory()
    device = torch.device(allocation.driver_device)
    do_work(Worker(job, Workers(), device, driver=_Here(emit, interrupts), outputs=Outputs()))


def do_work(worker: Worker) -> None:
    """Do one worker's part of its job."""
    if worker.job.rate_range is None:
        worker.run()
    else:
        run_rate_test(worker, worker.job.rate_range)


class _Here:
    """The driver, for a worker in its own process: messages are written at once."""

    def __init__(self, emit: Emit, interrupts: Interrupts):
        self._emit = emit
        self._interrupts = interrupts

    def emit(self, message: Message) -> None:
        self._emit(message)

    def asked_to_stop(self) -> bool:
        return self._interrupts.requested

    def unwritten(self) -> Sequence[BatchRow]:
        return ()
