"""A training or evaluation run, from the plan to the last checkpoint."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from rayrml import storage
from rayrml.cluster.allocation import Allocation
from rayrml.errors import ConfigError, DivergenceError, Problem, describe
from rayrml.formatting import format_path
from rayrml.networks.drawing import write_dot
from rayrml.planning import checks, summary
from rayrml.planning.critic import CriticPlan
from rayrml.planning.plan import EvaluationPlan, Plan, TrainingPlan
from rayrml.reporting import report_page
from rayrml.reporting.file_names import PLOTS_FOLDER
from rayrml.reporting.messages import Saved
from rayrml.runs import prediction_tables, provenance, result_summary, training_plots
from rayrml.runs.context import Context
from rayrml.saving import checkpoint_folder
from rayrml.training.in_driver import run_in_driver
from rayrml.training.interrupts import Interrupts
from rayrml.training.job import CriticJob, Job


def train(context: Context, plan: TrainingPlan | EvaluationPlan, interrupts: Interrupts) -> None:
    """Train and evaluate according to the plan, and write the results.

    Raises:
        DataError: files cannot be read or written.
        ClusterError: workers were lost permanently.
        DivergenceError: the loss is no longer finite.
        KeyboardInterrupt: the run was interrupted; Terminated if that was by SIGTERM.
    """
    record, allocation = context.record, context.allocation
    if plan.training is not None:
        record.begin(
            context.resolved,
            provenance.environment(plan, allocation),
            provenance.describe_data(plan),
            resumed=context.resumed,
        )
    with _ray_folder(context) as ray_folder:
        job = make_job(
            plan,
            state_folder=context.state_folder or ray_folder,
            resume_from=context.resume_from,
            decode_cpus=allocation.decode_cpus,
            step_bytes=_step_bytes(plan, allocation),
        )
        if job.debug_path is not None:
            write_dot(plan.network, job.debug_path)
            context.emit(Saved("graph", job.debug_path))
        _work(context, job, interrupts, ray_folder)
    if (where := context.state.interrupted) is not None:
        context.console.line(result_summary.interruption(where, context.state_folder, context.command))
        if plan.final_test is not None:
            context.console.line("The final test was not done: it follows the last epoch")
        raise interrupts.error()
    if job.state_path is not None:
        # The run's last checkpoint contains the same.
        for path in (job.state_path, checkpoint_folder.interrupted_path(storage.parent(job.state_path))):
            checkpoint_folder.remove(path)
    _finish(context)


def make_job(
    plan: TrainingPlan | EvaluationPlan,
    *,
    state_folder: str | None,
    resume_from: tuple[str, ...] = (),
    decode_cpus: float = 1.0,
    step_bytes: int = 0,
) -> Job:
    """The workers' job for a plan; training keeps its state in `state_folder`."""
    nn = plan.config.neural_network
    return Job(
        config=nn,
        network=plan.network,
        layers=plan.layers,
        loss=plan.loss,
        metric=plan.metric,
        optimizer=plan.optimizer,
        options=plan.options,
        schedule=plan.schedule,
        rates=dict(plan.rates),
        unfreezing=dict(plan.unfreezing),
        datasets=plan.datasets,
        compression=plan.config.ray.gradient_compression,
        sharding=plan.config.ray.sharding,
        global_batch_norm=plan.config.ray.batch_norm == "global",
        debug_path=_debug_path(plan) if nn.debug else None,
        state_path=checkpoint_folder.state_path(state_folder) if state_folder and plan.training is not None else None,
        resume_from=resume_from,
        run_id=uuid.uuid4().hex,
        decode_cpus=decode_cpus,
        step_bytes=step_bytes,
        drawing=plan.pictures.drawing,
        picture_choice=plan.pictures.choice,
        critic=None if plan.critic is None else _make_critic_job(plan.critic),
        judge=plan.judge,
    )


def _make_critic_job(critic: CriticPlan) -> CriticJob:
    """The part of the workers' job that is about a critic."""
    updates = critic.updates
    return CriticJob(
        layers=critic.layers,
        network=critic.network,
        optimizer=updates.optimizer,
        options=updates.options,
        schedule=updates.schedule,
        rates=dict(updates.rates),
    )


def _step_bytes(plan: Plan, allocation: Allocation) -> int:
    """The memory that samples must leave to a step on a GPU; the estimate takes a moment that others are spared."""
    needed = allocation.use_gpu and plan.config.neural_network.data.preload
    return checks.step_memory(plan, allocation.least_workers) if needed else 0


def _debug_path(plan: Plan) -> str:
    outfile = plan.config.neural_network.outfile
    return storage.join(storage.parent(outfile) if outfile else Path.cwd(), f"{plan.network.name}.dot")


@contextlib.contextmanager
def _ray_folder(context: Context) -> Iterator[str]:
    """The folder for Ray's own files about the run; on one machine it is temporary, as they are useless afterwards."""
    if context.allocation.one_machine:
        with tempfile.TemporaryDirectory(prefix="rayrml-", ignore_cleanup_errors=True) as folder:
            yield folder
        return
    folder, name = context.state_folder, context.plan.name
    if folder is None:
        message = "is missing. Set it to a folder that all machines share"
        raise ConfigError(Problem("ray.storage_path", message))
    if not context.resumed and storage.exists(storage.join(folder, name)):
        raise ConfigError(Problem("ray.run_name", f"'{name}' already exists in '{folder}'"))
    yield folder


def _work(context: Context, job: Job, interrupts: Interrupts, ray_folder: str) -> None:
    """Run the job on the workers."""
    plan, allocation = context.plan, context.allocation
    interrupts.end_in_order(lambda: context.state.trains)
    try:
        if allocation.in_driver:
            context.console.wait_for("Preparing the samples" if plan.training else "Evaluating")
            run_in_driver(job, context.emit, allocation, interrupts)
            return
        from rayrml.training import trainer  # Ray Train takes seconds to import

        context.console.begin(f"Starting {summary.workers(allocation)}")
        retries = plan.config.ray.max_failures
        trainer.run_on_workers(
            job, context.emit, allocation, interrupts, storage=ray_folder, name=plan.name, max_failures=retries
        )
    except DivergenceError as error:
        raise DivergenceError(*error.problems, _last_kept(context)) from None


def _last_kept(context: Context) -> str:
    """A message that names the last checkpoint before the loss diverged."""
    kept = [*context.resume_from[-1:], *context.state.saved.get("checkpoint", [])]
    return (
        f"the last checkpoint before that is {format_path(kept[-1])}" if kept else "no checkpoint was saved before that"
    )


def _finish(context: Context) -> None:
    """Write the record and draw the plots of a finished run."""
    record, plan = context.record, context.plan
    record.finish()
    if record.folder is not None and plan.training is None:
        for path in _write_tables(plan, record.folder, context.state.saved.get("predictions", [])):
            context.emit(Saved("table", path))
    wanted = plan.config.neural_network.checkpoints.plots and record.folder is not None and record.history
    with context.console.waiting("Drawing the plots"):
        drawn = wanted and training_plots.make(plan, record, context.console.line)
    if drawn:
        context.emit(Saved("plots", storage.join(record.folder or "", PLOTS_FOLDER)))
    if wanted and plan.training is not None:
        _write_report(context)
    for tracker in context.tracking:
        tracker.finish(training_plots.files(record), complete=True)


def _write_report(context: Context) -> None:
    """Write the page on a run; whatever fails here, the network is trained, and its results are on disk."""
    folder = context.record.folder or ""
    try:
        path = report_page.write(folder)
    except Exception as error:
        context.console.line(f"The report could not be written: {describe(error)}")
    else:
        context.emit(Saved("report", path))


def _write_tables(plan: Plan, folder: str, predictions: Sequence[str]) -> tuple[str, ...]:
    """Write the tables of an evaluation into a folder, and return their paths. Raises DataError."""
    known = prediction_tables.describe_evaluation(plan, folder, predictions)
    tables = None if known is None else prediction_tables.tabulate(plan.config.neural_network.app or "dnn", known)
    if tables is None:
        return ()
    for _ in tables.rows:
        pass
    return tables.paths
