"""The context of a run: its plan, its part of the cluster, and everything that receives its workers' messages."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rayrml import storage
from rayrml.cluster.allocation import Allocation
from rayrml.formatting import format_path
from rayrml.metrics import PartNames
from rayrml.planning.plan import Plan
from rayrml.reporting import trackers
from rayrml.reporting.console import Console
from rayrml.reporting.dashboard import Gauges
from rayrml.reporting.figure_logs import FigureLogs
from rayrml.reporting.file_names import RUN_LOG
from rayrml.reporting.messages import Broadcast, Emit
from rayrml.reporting.progress_lines import ProgressLines
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState
from rayrml.reporting.tensorboard import EVENTS_FOLDER, EventFiles
from rayrml.reporting.trackers import Tracking
from rayrml.runs import provenance
from rayrml.runs.earlier_run import MadeRoom


@dataclasses.dataclass(frozen=True)
class Context:
    """What all parts of one run use.

    Attributes:
        plan: what the run does.
        allocation: the part of the cluster that runs it.
        console: the screen.
        state: the run's results so far.
        record: the files next to the checkpoints.
        tracking: the servers that receive the run's figures.
        emit: passes workers' messages to everything that shows or writes them.
        resolved: the whole configuration, as it is recorded.
        lines: messages on files of an earlier run.
        resume_from: files to resume from, () to start from the beginning.
        command: the command that started the run, None if it was not started by one.
    """

    plan: Plan
    allocation: Allocation
    console: Console
    state: RunState
    record: Record
    tracking: tuple[Tracking, ...]
    emit: Emit
    resolved: Mapping[str, Any]
    lines: tuple[str, ...]
    resume_from: tuple[str, ...]
    command: tuple[str, ...] | None

    @property
    def resumed(self) -> bool:
        """Whether the run resumes an earlier one."""
        return bool(self.resume_from)

    @property
    def state_folder(self) -> str | None:
        """The folder that holds the state for resuming, None if there is none."""
        return find_state_folder(self.plan)


@contextlib.contextmanager
def open_context(
    plan: Plan,
    allocation: Allocation,
    *,
    room: MadeRoom,
    resume_from: tuple[str, ...],
    report: bool,
    console: Console,
    also: Emit,
    command: tuple[str, ...] | None,
) -> Iterator[Context]:
    """Open everything that a run writes to, and close it when the run ends; `also` receives all messages, too.

    `room` says where the files of an earlier run are now. With `report`, an evaluation keeps a record, too.

    Raises:
        DataError: a file cannot be written.
    """
    nn = plan.config.neural_network
    resumed = bool(resume_from)
    state = RunState(0 if plan.training is None else plan.training.count_batches(nn.data.batch_size))
    record = _open_record(plan, state, report=report)
    with contextlib.ExitStack() as stack:
        # Each training has a log of its own; those of predictions continue it, so that none replaces a training's.
        stack.enter_context(console.recording(_find_log(plan), append=resumed or plan.training is None))
        # The progress lines come first: some of them compare a message with the state before it.
        lines = _make_lines(plan, console, state)
        stack.callback(lines.close)
        logs = _open_logs(plan, stack, append=resumed)
        stack.callback(record.flush)
        resolved = provenance.resolved(plan, allocation, room.moved)
        tracking = tuple(_begin_tracking(plan, resolved, console, resumed=resumed))
        for tracker in tracking:
            stack.callback(tracker.finish)
        receivers = [lines.receive, *([] if logs is None else [logs.receive]), state.receive]
        receivers += [Gauges(plan.name).receive, record.receive, also, *_open_event_files(plan, stack)]
        yield Context(
            plan=plan,
            allocation=allocation,
            console=console,
            state=state,
            record=record,
            tracking=tracking,
            emit=Broadcast(*receivers, *(tracker.receive for tracker in tracking)),
            resolved=resolved,
            lines=(*room.lines, *(() if logs is None else _describe_logs(logs.set_aside))),
            resume_from=resume_from,
            command=command,
        )


def _make_lines(plan: Plan, console: Console, state: RunState) -> ProgressLines:
    nn = plan.config.neural_network
    epochs = 1 if plan.training is None else nn.num_epochs
    symbols = () if plan.loss is None else plan.loss.build().term_symbols
    return ProgressLines(console, state, epochs, nn.metric, summarized=not plan.is_inference, symbols=symbols)


def _open_logs(plan: Plan, stack: contextlib.ExitStack, *, append: bool) -> FigureLogs | None:
    nn = plan.config.neural_network
    if nn.outfile is None:
        return None
    overwrite = nn.checkpoints.exist == "overwrite"
    logs = FigureLogs(nn.outfile, append=append, overwrite=overwrite, metric=plan.metric)
    stack.callback(logs.close)
    return logs


def _find_log(plan: Plan) -> str | None:
    """The path of the log of what the run shows, None if the run has no folder."""
    nn = plan.config.neural_network
    folder = nn.data.test_output_path if plan.training is None else nn.checkpoints.save
    return None if folder is None else storage.join(folder, RUN_LOG)


def _open_record(plan: Plan, state: RunState, *, report: bool) -> Record:
    nn, trains = plan.config.neural_network, plan.training is not None
    folder = nn.checkpoints.save if trains else nn.data.test_output_path if report else None
    pixels = len(plan.network.output_shapes[0]) > 1
    names = PartNames(plan.classes, plan.datasets.value_names, pixels)
    return Record(folder, state, names, trains=trains)


def _describe_logs(paths: Sequence[str]) -> Iterator[str]:
    if paths:
        yield f"Keeping the logs of an earlier run: {', '.join(map(format_path, paths))}"


def find_state_folder(plan: Plan) -> str | None:
    """The folder in which a plan's run keeps its state for resuming, None if there is none."""
    return plan.config.ray.storage_path or plan.config.neural_network.checkpoints.save


def _open_event_files(plan: Plan, stack: contextlib.ExitStack) -> Iterator[Emit]:
    """The receiver that writes TensorBoard files, if they are requested."""
    section = plan.config.neural_network.checkpoints
    if section.tensorboard and section.save is not None and plan.training is not None:
        events = EventFiles(storage.join(section.save, EVENTS_FOLDER, plan.name))
        stack.callback(events.close)
        yield events.receive


def _begin_tracking(plan: Plan, config: Mapping[str, Any], console: Console, *, resumed: bool) -> Iterator[Tracking]:
    """The tracking servers that the configuration names."""
    section = plan.config.neural_network.checkpoints
    folder = section.save
    if folder is None or plan.training is None:
        return
    begins = {}
    if section.mlflow:
        begins["mlflow"] = trackers.prepare_mlflow(plan.name, config)
    if section.wandb:
        begins["wandb"] = trackers.prepare_wandb(plan.name, config, folder)
    for name, begin in begins.items():
        yield Tracking(name, begin, folder=folder, resumed=resumed, say=console.line)
