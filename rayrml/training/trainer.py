"""Training on Ray: the `TorchTrainer` that runs the epoch loop on workers, and passes their messages to the driver."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
import ray.exceptions
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device

from rayrml.cluster import ray_internals
from rayrml.cluster.allocation import Allocation
from rayrml.cluster.connection import hide_messages
from rayrml.cluster.nodes import pin_to_node
from rayrml.cluster.shortage import Shortage
from rayrml.cpus import count_cpus
from rayrml.errors import ClusterError, RayrmlError
from rayrml.inference.outputs import Outputs
from rayrml.inference.prediction_files import start_writer
from rayrml.memory import keep_freed_memory
from rayrml.reporting.messages import Emit, Failed, Phase
from rayrml.training.epoch_loop import Worker
from rayrml.training.in_driver import do_work
from rayrml.training.interrupts import Interrupts
from rayrml.training.job import Job
from rayrml.training.mailbox import Connection, Mailbox
from rayrml.training.preemption import Notice, RayNotice
from rayrml.training.rendezvous import NETWORK_HINT, Rendezvous, is_of_network
from rayrml.training.termination import TERMINATION
from rayrml.workers import Workers

_SECONDS_BETWEEN_LOOKS = 0.1  # at the workers' messages
_SECONDS_BETWEEN_RESIZES = 30.0  # minimum: a resize restarts all workers, which takes about as long


def run_on_workers(
    job: Job,
    emit: Emit,
    allocation: Allocation,
    interrupts: Interrupts,
    *,
    storage: str,
    name: str,
    max_failures: int,
) -> None:
    """Train on Ray Train's workers; `emit` receives their messages here, in the driver.

    Raises:
        RayrmlError: the error that a worker raised.
        ClusterError: workers were lost more than `max_failures` times.
    """
    actor: Any = ray.remote(Mailbox)
    # On the driver's node: it should be lost with the driver, not with a worker.
    mailbox = actor.options(num_cpus=0, scheduling_strategy=pin_to_node()).remote()
    run = ray.train.RunConfig(
        name=name,
        storage_path=storage,
        failure_config=ray.train.FailureConfig(max_failures=max_failures),
        logging_config=ray.train.LoggingConfig(log_level="ERROR"),
    )
    trainer = _trainer(_parcel(job, mailbox, allocation), allocation, run)
    fit = call_in_background(trainer.fit)
    shortage = Shortage(allocation, lambda text: emit(Phase(text)))
    try:
        while not fit.done():
            for message in (messages := ray.get(mailbox.take.remote(wish=interrupts.requested))):
                emit(message)
            shortage.look(heard=bool(messages))
            concurrent.futures.wait([fit], _SECONDS_BETWEEN_LOOKS)
        for message in ray.get(mailbox.take.remote()):
            emit(message)
    except BaseException:
        # Workers that Ray restarts check this first and end at once.
        mailbox.stop.remote()
        raise
    if (error := fit.exception()) is not None:
        raise _explained(error) from error


def _parcel(job: Job, mailbox: Any, allocation: Allocation) -> dict[str, Any]:
    """The arguments of the workers' loop."""
    writer = start_writer() if job.predicts else None
    return {"job": ray.put(job), "mailbox": mailbox, "writer": writer, "verbose": allocation.verbose}


def _trainer(parcel: dict[str, Any], allocation: Allocation, run: ray.train.RunConfig) -> TorchTrainer:
    """The trainer of the workers' loop."""
    meeting: Any = Rendezvous(
        folder=run.storage_path if allocation.private else None,
        seconds=allocation.seconds,
        interface=allocation.interface,
    )
    trainer = TorchTrainer(
        _worker_loop,
        train_loop_config=parcel,
        scaling_config=_scaling(allocation),
        run_config=run,
        torch_config=meeting,
    )
    ray_internals.drop_unused_services(trainer, private=allocation.private)
    ray_internals.restart_after_losses_at_start(trainer)
    return trainer


def _scaling(allocation: Allocation) -> ray.train.ScalingConfig:
    return ray.train.ScalingConfig(
        num_workers=allocation.num_workers,
        use_gpu=allocation.use_gpu,
        resources_per_worker=dict(allocation.resources_per_worker),
        placement_strategy=allocation.placement_strategy,
        accelerator_type=allocation.accelerator_type,
        elastic_resize_monitor_interval_s=_SECONDS_BETWEEN_RESIZES,
    )


def _worker_loop(config: dict[str, Any]) -> None:
    if not config["verbose"]:
        hide_messages()
    mailbox = config["mailbox"]
    if ray.get(mailbox.stopped.remote()):
        return
    keep_freed_memory()
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    # Ray limits a process to one thread; a training worker may use its part of the machine.
    torch.set_num_threads(max(count_cpus() // context.get_local_world_size(), 1))

    driver = Connection(mailbox, listens=workers.rank == 0)
    try:
        if workers.rank == 0:
            driver.emit(Phase(f"Training on {workers.size} worker{'s' if workers.size > 1 else ''}"))
        job: Job = ray.get(config["job"])
        notice = Notice() if job.rate_range is not None else RayNotice(workers.rank)  # a test of rates keeps no state
        outputs = Outputs(config["writer"])
        do_work(Worker(job, workers, get_device(), driver=driver, outputs=outputs, notice=notice))
    except ray_internals.WorkersLeave:
        driver.settle()
        workers.gather(None)  # Ray ends all workers as soon as it sees that one has ended
        raise
    except (RayrmlError, torch.OutOfMemoryError) as error:
        driver.emit(Failed(error))
        driver.settle()
        raise
    finally:
        TERMINATION.training_is_over()
    driver.settle()


def call_in_background(call: Callable[[], Any]) -> Future[Any]:
    """Run a call in its own thread and return its future: the main thread stays free for signals and messages.

    The thread is a daemon, unlike an executor's: an interrupted process ends without waiting for it.
    """
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # passed to the waiting thread
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _explained(error: BaseException) -> BaseException:
    """A worker's own error, or that of their meeting, instead of the errors that Ray wraps around it."""
    unmet = getattr(error, "controller_failure", None)
    if isinstance(unmet, RayrmlError):
        return unmet
    failures = getattr(error, "worker_failures", None) or {}
    causes = [getattr(failures[rank], "cause", failures[rank]) for rank in sorted(failures)]
    for cause in causes:
        if isinstance(cause, RayrmlError | torch.OutOfMemoryError):
            return cause
    for cause in (*causes, error):
        # Ray kills processes before the machine's memory is full, and reports that in a long text.
        if isinstance(cause, ray.exceptions.OutOfMemoryError) or "out of memory" in str(cause):
            return MemoryError(str(cause))
    if failures:
        rank = min(failures)
        reason = str(failures[rank]).strip().splitlines()[-1]
        hint = f". {NETWORK_HINT}" if is_of_network(reason) else ""
        return ClusterError(f"worker {rank} failed, and a restart did not help. {reason.rstrip('.')}{hint}")
    return ClusterError(f"training failed. {str(error).strip().splitlines()[-1]}")
