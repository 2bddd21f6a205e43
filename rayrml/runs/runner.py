"""One run from its configuration to its last file: everything is checked first, then Ray is asked to work."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.cluster.allocation import Allocation
from rayrml.cluster.shared_files import refuse_unshared
from rayrml.errors import ConfigError, DivergenceError, Problem
from rayrml.formatting import format_path
from rayrml.inference import batch_job
from rayrml.inference.batch_job import InferenceJob
from rayrml.networks.drawing import write_dot
from rayrml.planning import summary
from rayrml.planning.plan import Plan, prepare
from rayrml.reporting import trackers as tracker_servers
from rayrml.reporting.dashboard import Gauges
from rayrml.reporting.messages import Emit, Message, Saved, Skipped
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_log import RunLog, log_path
from rayrml.reporting.tensorboard import EventFiles
from rayrml.reporting.trackers import Tracking
from rayrml.runs import overwritten, provenance, result_summary, training_plots
from rayrml.saving import checkpoints
from rayrml.training import trainer as training
from rayrml.training.interrupts import Interrupts
from rayrml.training.job import Job, destination
from rayrml.workers import global_batch_sizes


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        metrics: the last epoch's figures: `epoch`, `train_loss`, `test_loss`, `accuracy`, ...; for inference
            `num_predictions`.
        history: the figures of each epoch.
        checkpoints: paths of the checkpoints, oldest first.
        predictions: paths of the HDF5 files, oldest first.
        logs: paths of the text logs.
        classes: class names in the order of the network's outputs.
        skipped: how many samples could not be used and were left out, by dataset.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    checkpoints: list[str]
    predictions: list[str]
    logs: list[str]
    classes: tuple[str, ...]
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)


def check(config: str | Path | Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Do all that a run does before it needs Ray: read, validate, build the network, find the files.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files that are missing or cannot be read.
    """
    return prepare(config, overrides or {})


def execute(
    plan: Plan,
    allocation: Allocation,
    interrupts: Interrupts,
    *,
    resume: bool = False,
    quiet: bool = False,
    also: Emit = lambda message: None,
    command: tuple[str, ...] | None = None,
) -> RunResult:
    """Do what a plan says with a part of the cluster that this process is connected to; `also` gets all messages, too.

    What to type next is shown to who typed the `command`.

    Raises:
        ConfigError: the part does not suit the plan.
        DataError: files that cannot be read or written.
        ClusterError: workers were lost for good.
        DivergenceError: the loss is not a finite number any more.
        KeyboardInterrupt: the run was interrupted.
    """
    nn = plan.config.neural_network
    if plan.training and allocation.most_workers > len(plan.training.samples):
        message = f"{allocation.most_workers} workers are more than the {len(plan.training.samples)} training samples"
        raise ConfigError(Problem("ray.num_workers", message))
    resume_from = _resume_from(plan) if resume else ()
    record = Record(nn.checkpoints.save if plan.training else None, plan.classes)
    with contextlib.ExitStack() as stack:
        trackers: list[Tracking] = []
        log = _log(plan, _receivers(plan, record, stack, trackers, also=also), append=bool(resume_from), quiet=quiet)
        stack.callback(log.close)
        trackers += _trackers(plan, allocation, log, resumed=bool(resume_from))
        for tracker in trackers:
            stack.callback(tracker.finish)
        _begin(plan, allocation, log, resumed=bool(resume_from))
        if not allocation.one_machine:
            refuse_unshared(source for source in (plan.training, plan.test) if source is not None)
        if plan.is_inference:
            metrics: dict[str, float] = {"num_predictions": _predict(plan, allocation, log)}
        else:
            if resume and not resume_from:
                log.line("There is nothing to go on from: beginning with epoch 1")
            _train(plan, allocation, log, record=record, resume_from=resume_from, interrupts=interrupts)
            _end_if_interrupted(plan, log, command)
            _finish(plan, log, record, trackers)
            metrics = dict(log.history[-1]) if log.history else {}
        result_summary.show(log, plan, record, command)
        log.line("All done (return value = 0).")
        return _result(plan, log, metrics)


def _begin(plan: Plan, allocation: Allocation, log: RunLog, *, resumed: bool) -> None:
    """Print what is going to be done, and what becomes of an earlier run's files."""
    summary.devices(log, allocation)
    summary.plan(log, plan, allocation.most_workers)
    for line in overwritten.lines(plan, log.kept, resumed=resumed):
        log.line(line)
    log.line("")


def _result(plan: Plan, log: RunLog, metrics: dict[str, float]) -> RunResult:
    outfile = plan.config.neural_network.outfile
    logs = [log_path(outfile, kind) for kind in ("train", "test")] if outfile else []
    saved = log.saved
    return RunResult(
        metrics,
        log.history,
        saved.get("checkpoint", []),
        saved.get("predictions", []),
        logs,
        plan.classes,
        {name: len(numbers) for name, numbers in log.skipped.items()},
    )


def _receivers(
    plan: Plan, record: Record, stack: contextlib.ExitStack, trackers: Sequence[Tracking], *, also: Emit
) -> Emit:
    """What else gets the workers' messages: gauges, the run's record and, if they are wanted, files and servers."""
    receivers = [Gauges(plan.name).receive, record.receive, also]
    stack.callback(record.flush)
    section = plan.config.neural_network.checkpoints
    if section.tensorboard and section.save is not None and plan.training:
        events = EventFiles(storage.join(section.save, "tensorboard", plan.name))
        stack.callback(events.close)
        receivers.append(events.receive)

    def receive(message: Message) -> None:
        for receiver in (*receivers, *(tracker.receive for tracker in trackers)):
            receiver(message)

    return receive


def _trackers(plan: Plan, allocation: Allocation, log: RunLog, *, resumed: bool) -> list[Tracking]:
    section = plan.config.neural_network.checkpoints
    folder = section.save
    if folder is None or plan.training is None:
        return []
    config = provenance.resolved(plan, allocation)
    begins = {}
    if section.mlflow:
        begins["mlflow"] = tracker_servers.mlflow(plan.name, config)
    if section.wandb:
        begins["wandb"] = tracker_servers.wandb(plan.name, config, folder)
    return [Tracking(name, begin, folder=folder, resumed=resumed, say=log.line) for name, begin in begins.items()]


def _log(plan: Plan, also: Emit, *, append: bool, quiet: bool) -> RunLog:
    nn, training = plan.config.neural_network, plan.training
    return RunLog(
        nn.outfile,
        num_epochs=nn.num_epochs if training else 1,
        num_batches=len(global_batch_sizes(len(training.samples), nn.data.batch_size)) if training else 0,
        append=append,
        quiet=quiet,
        also=also,
    )


def _resume_from(plan: Plan) -> tuple[str, ...]:
    folder = _state_folder(plan)
    if folder is None:
        raise ConfigError(Problem("neural_network.checkpoints.save", "is missing. A run goes on from what is in there"))
    return tuple(checkpoints.newest(folder))


def _state_folder(plan: Plan) -> str | None:
    return plan.config.ray.storage_path or plan.config.neural_network.checkpoints.save


def _train(
    plan: Plan,
    allocation: Allocation,
    log: RunLog,
    *,
    record: Record,
    resume_from: tuple[str, ...],
    interrupts: Interrupts,
) -> None:
    resumed = bool(resume_from)
    record.begin(provenance.resolved(plan, allocation), provenance.environment(plan, allocation), resumed=resumed)
    job = _job(plan, allocation, resume_from)
    if job.debug is not None:
        write_dot(plan.network, job.debug)
        log.receive(Saved("graph", job.debug))
    with _ray_folder(plan, allocation, resumed=resumed) as ray_folder:
        folder = _state_folder(plan) or ray_folder
        job = dataclasses.replace(job, state_path=checkpoints.state_path(folder) if plan.training else None)
        interrupts.end_in_order(lambda: log.trains)
        try:
            if allocation.in_driver:
                training.run_in_driver(job, log, allocation, interrupts)
            else:
                log.line(f"Starting {summary.workers(allocation)}")
                retries = plan.config.ray.max_failures
                training.run_on_workers(
                    job, log, allocation, interrupts, storage=ray_folder, name=plan.name, max_failures=retries
                )
        except DivergenceError as error:
            raise DivergenceError(*error.problems, _last_kept(log, resume_from)) from None
    if job.state_path is not None and log.interrupted is None:
        # The run's last checkpoint holds the same.
        for path in (job.state_path, checkpoints.interrupted_path(storage.parent(job.state_path))):
            checkpoints.remove(path)


def _end_if_interrupted(plan: Plan, log: RunLog, command: tuple[str, ...] | None) -> None:
    if log.interrupted is not None:
        log.line(result_summary.interruption(log.interrupted, _state_folder(plan), command))
        raise KeyboardInterrupt


def _finish(plan: Plan, log: RunLog, record: Record, trackers: Sequence[Tracking]) -> None:
    """Write and draw what a training has come to."""
    record.finish()
    wanted = plan.config.neural_network.checkpoints.plots and record.folder is not None and record.history
    if wanted and training_plots.make(plan, record, log.line):
        log.receive(Saved("plots", storage.join(record.folder or "", "plots")))
    for tracker in trackers:
        tracker.finish(training_plots.files(record), complete=True)


def _last_kept(log: RunLog, resume_from: tuple[str, ...]) -> str:
    """Where a run that went astray could go on from."""
    kept = [*resume_from[-1:], *log.saved.get("checkpoint", [])]
    return (
        f"the last checkpoint before that is {format_path(kept[-1])}" if kept else "no checkpoint was saved before that"
    )


def _job(plan: Plan, allocation: Allocation, resume_from: tuple[str, ...]) -> Job:
    nn = plan.config.neural_network
    if plan.loss is None:
        raise RuntimeError("training and evaluation need a loss")
    return Job(
        network=plan.network,
        layers=plan.layers,
        loss=plan.loss,
        metric=nn.metric,
        optimizer=plan.optimizer,
        schedule=plan.schedule,
        training=plan.training,
        test=plan.test,
        test_targets=plan.datasets.test_targets,
        transforms=plan.datasets.transforms.batched,
        classes=plan.classes,
        num_epochs=nn.num_epochs,
        batch_size=nn.data.batch_size,
        test_batch_size=nn.data.test_batch_size,
        preload=nn.data.preload,
        seed=nn.seed,
        precision=nn.precision,
        compile=nn.compile,
        gradient_clip=nn.gradient_clip,
        gradient_compression=plan.config.ray.gradient_compression,
        stopping=nn.early_stopping,
        debug=_debug_path(plan) if nn.debug else None,
        debug_interval=nn.debug_interval,
        save=nn.checkpoints.save if plan.training else None,
        interval=nn.checkpoints.interval,
        state_path=None,
        resume_from=resume_from,
        data=nn.data,
        run_id=uuid.uuid4().hex,
        decode_cpus=allocation.decode_cpus,
    )


def _debug_path(plan: Plan) -> str:
    outfile = plan.config.neural_network.outfile
    return storage.join(storage.parent(outfile) if outfile else Path.cwd(), f"{plan.network.name}.dot")


@contextlib.contextmanager
def _ray_folder(plan: Plan, allocation: Allocation, *, resumed: bool) -> Iterator[str]:
    """Where Ray keeps its own notes on the run: on one machine they are of no use after it."""
    if allocation.one_machine:
        with tempfile.TemporaryDirectory(prefix="rayrml-", ignore_cleanup_errors=True) as folder:
            yield folder
        return
    folder = _state_folder(plan)
    if folder is None:
        message = "is missing. Expected a folder that all machines share"
        raise ConfigError(Problem("ray.storage_path", message))
    if not resumed and storage.exists(storage.join(folder, plan.name)):
        raise ConfigError(Problem("ray.run_name", f"'{plan.name}' has run before: it is in '{folder}'"))
    yield folder


def _predict(plan: Plan, allocation: Allocation, log: RunLog) -> int:
    nn = plan.config.neural_network
    if plan.test is None:
        raise RuntimeError("inference needs samples")
    wanted = destination(plan.test, nn.data, 1, plan.classes)
    if not wanted.paths:
        log.line("No test_output_path is given: predictions are computed, but not saved")
    job = InferenceJob(
        network=plan.network,
        source=plan.test,
        transforms=plan.datasets.transforms.batched.evaluation(),
        loss=plan.loss,
        batch_size=nn.data.test_batch_size,
        destination=wanted,
        precision=nn.precision,
        skip=nn.data.skips,
    )
    started = time.monotonic()
    shown = started

    def progress(done: int, *, finished: bool = False) -> None:
        nonlocal shown
        now = time.monotonic()
        if finished or done == len(job.source.samples) or now - shown >= 1:
            shown = now
            log.line(f"Inference : {done} of {len(job.source.samples)} samples ({batch_job.rate(started, done)})")

    count = batch_job.predict(job, allocation, progress, skipped=lambda bad: log.receive(Skipped(bad)))
    if log.skipped:
        progress(count, finished=True)
    for path in wanted.paths:
        log.receive(Saved("predictions", path))
    return count
