"""One run from its plan to its last file: training, evaluation or inference on a part of a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rayrml.cluster.allocation import Allocation
from rayrml.cluster.shared_files import refuse_unshared
from rayrml.config.reading import AnyConfiguration
from rayrml.errors import ConfigError, Problem
from rayrml.planning import summary
from rayrml.planning.plan import EvaluationPlan, InferencePlan, Plan, TrainingPlan
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.reporting.figure_logs import log_paths
from rayrml.reporting.messages import Emit
from rayrml.runs import earlier_run, result_summary
from rayrml.runs.context import Context, find_state_folder, open_context
from rayrml.runs.inference_run import infer
from rayrml.runs.resume_check import resume_plan
from rayrml.saving import resuming
from rayrml.saving.run_lock import locked
from rayrml.training.interrupts import Interrupts


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Attributes:
        metrics: the last epoch's figures: `epoch`, `train_loss`, `test_loss`, `accuracy`, ...; for inference
            `num_predictions`.
        history: the figures of each epoch.
        checkpoints: paths of the checkpoints, oldest first.
        predictions: paths of the HDF5 files, oldest first.
        logs: paths of the text logs.
        classes: class names in the order of the network's outputs.
        skipped: number of unusable samples that were skipped, by dataset.
        best_checkpoint: path of the best epoch's checkpoint, None if this run kept none.
        final_test: the figures of the final test: `epoch`, `samples`, `loss`, `accuracy`, ...; None if there was none.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    checkpoints: list[str]
    predictions: list[str]
    logs: list[str]
    classes: tuple[str, ...]
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    best_checkpoint: str | None = None
    final_test: dict[str, float] | None = None


def check(config: AnyConfiguration, *, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Do everything that a run does before it needs Ray: read, validate, build the network, find the files.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files are missing or cannot be read.
    """
    return prepare(config, overrides)


def execute(
    plan: Plan,
    allocation: Allocation,
    interrupts: Interrupts,
    *,
    resume: bool = False,
    report: bool = False,
    console: Console | None = None,
    also: Emit = lambda message: None,
    command: tuple[str, ...] | None = None,
) -> RunResult:
    """Execute a plan on a part of the cluster that this process is connected to; `also` receives all messages, too.

    It is shown on `console`, by default a new one. With `report`, an evaluation writes a report next to its
    predictions. If a `command` started the run, the next commands are shown at its
    end.

    Raises:
        ConfigError: the part of the cluster does not suit the plan.
        DataError: files cannot be read or written.
        ClusterError: workers were lost permanently.
        DivergenceError: the loss is no longer finite.
        KeyboardInterrupt: the run was interrupted.
    """
    refuse_too_many_workers(plan, allocation)
    console = console or Console()
    with contextlib.ExitStack() as stack:
        for folder in _list_written_folders(plan):
            stack.enter_context(locked(folder, console.line))
        resume_from = _find_resumable(plan) if resume else ()
        plan, changes = resume_plan(plan, resume_from)
        room = earlier_run.MadeRoom() if resume_from else earlier_run.make_room(plan)
        to_open = functools.partial(open_context, plan, allocation, console=console, also=also, command=command)
        context = stack.enter_context(to_open(room=room, resume_from=resume_from, report=report))
        _announce(context, changes)
        if not allocation.one_machine:
            refuse_unshared(plan.sources)
        if resume and not resume_from and plan.training is not None:
            context.console.line("Nothing to resume: starting with epoch 1")
        metrics = _carry_out(context, interrupts)
        result_summary.show(context)
        if not console.brief:
            console.line("All done (return value = 0).")
        return _result(context, metrics)


def refuse_too_many_workers(plan: Plan, allocation: Allocation) -> None:
    """Raise ConfigError if some workers would have no training samples."""
    if plan.training is not None and allocation.most_workers > len(plan.training.samples):
        message = f"{allocation.most_workers} workers are more than the {len(plan.training.samples)} training samples"
        raise ConfigError(Problem("ray.num_workers", message))


def _find_resumable(plan: Plan) -> tuple[str, ...]:
    folder = find_state_folder(plan)
    if folder is None:
        message = "is missing. A run is resumed from the checkpoints in that folder"
        raise ConfigError(Problem("neural_network.checkpoints.save", message))
    return tuple(resuming.find_resumable(folder))


def _list_written_folders(plan: Plan) -> list[str]:
    """The folders that a training writes its state and its checkpoints to, each once."""
    if plan.training is None:
        return []
    return list(dict.fromkeys(filter(None, (find_state_folder(plan), plan.config.neural_network.checkpoints.save))))


def _announce(context: Context, changes: Sequence[str]) -> None:
    """Print what the run will do, what has changed since the run that it resumes, and what happens to its files."""
    console, plan, allocation = context.console, context.plan, context.allocation
    with console.unseen(not console.shows_details):
        summary.devices(console, allocation)
        summary.plan(console, plan, allocation.most_workers)
    if not (console.shows_details or console.brief):
        summary.brief(console, plan, allocation)
    summary.notices(console, plan)
    console.lines(changes)
    console.lines(context.lines)
    if not console.brief:
        console.line()


def _carry_out(context: Context, interrupts: Interrupts) -> dict[str, float]:
    """Execute the plan and return its last figures."""
    plan = context.plan
    match plan:
        case InferencePlan():
            return {"num_predictions": infer(context, plan)}
        case TrainingPlan() | EvaluationPlan():
            from rayrml.runs.training_run import train  # a prediction needs nothing of it

            train(context, plan, interrupts)
    return dict(context.state.history[-1]) if context.state.history else {}


def _result(context: Context, metrics: dict[str, float]) -> RunResult:
    state, outfile = context.state, context.plan.config.neural_network.outfile
    return RunResult(
        metrics,
        state.history,
        state.saved.get("checkpoint", []),
        state.saved.get("predictions", []),
        log_paths(outfile) if outfile else [],
        context.plan.classes,
        {name: len(numbers) for name, numbers in state.skipped.items()},
        next(iter(state.saved.get("best", [])), None),
        None if state.final_test is None else state.final_test.figures,
    )
