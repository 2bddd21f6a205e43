"""One run from its configuration to its last file: everything is checked first, then Ray is asked to work."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rayrml import cluster, inference, sections, training
from rayrml.cluster import Allocation
from rayrml.epochs import Job
from rayrml.errors import ConfigError, Problem
from rayrml.inference import InferenceJob
from rayrml.plan import Plan, prepare
from rayrml.run_log import RunLog, displayed, log_path
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
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    checkpoints: list[str]
    predictions: list[str]
    logs: list[str]
    classes: tuple[str, ...]


def run(
    config: str | Path | Mapping[str, Any],
    *,
    num_workers: int | tuple[int, int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> RunResult:
    """Train, evaluate or predict as a configuration says.

    Args:
        config: path of a JSON file, or what such a file holds.
        num_workers: how many workers, or (min, max); beats the configuration's.
        overrides: values for dotted keys, such as `{"data.batch_size": 32, "ray.use_gpu": False}`.
        quiet: print nothing.
        verbose: let Ray print what it likes to.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files that are missing or cannot be read.
        ClusterError: Ray cannot do what is asked for.
    """
    wanted = {**({} if num_workers is None else {"ray.num_workers": num_workers}), **(overrides or {})}
    plan = prepare(config, wanted)
    with cluster.connected(plan.config.ray, verbose=verbose) as allocation:
        return _run(plan, allocation, quiet=quiet)


def check(config: str | Path | Mapping[str, Any], *, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Do all that a run does before it needs Ray: read, validate, build the network, find the files.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files that are missing or cannot be read.
    """
    return prepare(config, overrides or {})


def _run(plan: Plan, allocation: Allocation, *, quiet: bool) -> RunResult:
    nn = plan.config.neural_network
    samples = plan.training or plan.test
    if plan.training and allocation.most_workers > len(plan.training.samples):
        message = f"{allocation.most_workers} workers are more than the {len(plan.training.samples)} training samples"
        raise ConfigError(Problem("ray.num_workers", message))
    num_batches = len(global_batch_sizes(len(plan.training.samples), nn.data.batch_size)) if plan.training else 0
    num_epochs = nn.num_epochs if plan.training else 1
    log = RunLog(nn.outfile, num_epochs=num_epochs, num_batches=num_batches, quiet=quiet)
    try:
        sections.devices(log, allocation)
        sections.plan(log, plan, allocation.most_workers)
        log.line("")
        if samples is None:
            raise RuntimeError("a plan has training samples or test samples")
        if plan.is_inference:
            metrics: dict[str, float] = {"num_predictions": _predict(plan, allocation, log)}
        else:
            _train(plan, allocation, log)
            metrics = dict(log.history[-1]) if log.history else {}
        log.line("All done (return value = 0).")
    finally:
        log.close()
    logs = [str(log_path(nn.outfile, kind)) for kind in ("train", "test")] if nn.outfile else []
    saved = log.saved
    return RunResult(
        metrics, log.history, saved.get("checkpoint", []), saved.get("predictions", []), logs, plan.classes
    )


def _train(plan: Plan, allocation: Allocation, log: RunLog) -> None:
    job = _job(plan, allocation)
    if allocation.in_driver:
        training.run_in_driver(job, log, allocation)
        return
    with _storage(plan, allocation) as storage:
        folder = Path(storage) / plan.name
        if folder.exists():
            raise ConfigError(Problem("ray.run_name", f"'{plan.name}' has run before: '{folder}' exists"))
        shared = dataclasses.replace(job, state_path=str(folder / "state.pt"))
        log.line(f"Starting {sections.workers(allocation)}")
        training.run_on_workers(
            shared, log, allocation, storage=storage, name=plan.name, max_failures=plan.config.ray.max_failures
        )


def _job(plan: Plan, allocation: Allocation) -> Job:
    nn = plan.config.neural_network
    if plan.loss is None:
        raise RuntimeError("training and evaluation need a loss")
    return Job(
        network=plan.network,
        layers=plan.layers,
        loss=plan.loss,
        optimizer=plan.optimizer,
        training=plan.training,
        test=plan.test,
        classes=plan.classes,
        num_epochs=nn.num_epochs,
        batch_size=nn.data.batch_size,
        test_batch_size=nn.data.test_batch_size,
        preload=nn.data.preload,
        seed=nn.seed,
        precision=nn.precision,
        compile=nn.compile,
        gradient_clip=nn.gradient_clip,
        save=nn.checkpoints.save if plan.training else None,
        interval=nn.checkpoints.interval,
        state_path=None,
        output=nn.data.test_output_path,
        run_id=uuid.uuid4().hex,
        decode_cpus=allocation.decode_cpus,
    )


@contextlib.contextmanager
def _storage(plan: Plan, allocation: Allocation) -> Iterator[str]:
    """Where the workers' common state lives: on one machine it is of no use after the run, if nobody asked for it."""
    asked = plan.config.ray.storage_path or (
        plan.config.neural_network.checkpoints.save if allocation.num_nodes > 1 else None
    )
    if asked is not None:
        yield asked
    elif allocation.num_nodes > 1:
        raise ConfigError(
            Problem("ray.storage_path", f"is missing. Expected a folder that all {allocation.num_nodes} machines share")
        )
    else:
        with tempfile.TemporaryDirectory(prefix="rayrml-", ignore_cleanup_errors=True) as folder:
            yield folder


def _predict(plan: Plan, allocation: Allocation, log: RunLog) -> int:
    nn = plan.config.neural_network
    if plan.test is None:
        raise RuntimeError("inference needs samples")
    path = f"{nn.data.test_output_path}/output_1.h5" if nn.data.test_output_path else None
    if path is None:
        log.line("No test_output_path is given: predictions are computed, but not saved")
    job = InferenceJob(plan.network, plan.test, plan.classes, nn.data.test_batch_size, path, nn.precision)
    started = time.monotonic()
    shown = started

    def progress(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == len(job.source.samples) or now - shown >= 1:
            shown = now
            log.line(f"Inference : {done} of {len(job.source.samples)} samples ({inference.rate(started, done)})")

    count = inference.predict(job, allocation, progress)
    if path is not None:
        log.saved.setdefault("predictions", []).append(path)
        log.line(f"Saved predictions: {displayed(path)}")
    return count
