"""The end of a run on the screen: its results, where its files are, and the next commands."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rayrml import storage
from rayrml.config.figures import LOSSES, is_cost, spell, title
from rayrml.config.sections import NeuralNetwork
from rayrml.data.reader_keys import describe_reading
from rayrml.errors import DataError
from rayrml.formatting import format_bytes, format_duration, format_path
from rayrml.inference.applications import application_of
from rayrml.inference.picture_destination import FOLDERS
from rayrml.planning.plan import Plan
from rayrml.reporting.console import Console
from rayrml.reporting.figure_logs import log_paths
from rayrml.reporting.file_names import CONFIG, METRICS
from rayrml.reporting.history import find_best, find_metric, list_others
from rayrml.reporting.messages import FinalTested, Interrupted
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState
from rayrml.runs.context import Context
from rayrml.saving.checkpoint_folder import BEST, best_path, epoch_of, list_checkpoints, list_times
from rayrml.saving.checkpoints import load

_MOST_CLASSES = 20  # whose figures are shown on the screen
_COUNTS = {"samples", "pixels", "boxes"}

_BRIEF = 11  # columns, of the names of an evaluation's files

Kept = dict[int | str, str]  # paths of checkpoints by epoch, and under the name of the best one
Table = tuple[list[list[str]], list[str]]  # rows and headings


def show(context: Context) -> None:
    """Print a run's results, where its files are and, if a command started it, the next commands."""
    state, plan, command = context.state, context.plan, context.command
    kept = _find_kept(context)
    if state.history:  # not for predictions, whose paths have been printed already
        _summary(context, kept)
    wanted = _choose(kept, state)
    show_next(context.console, () if command is None else _next_commands(state, plan, command, wanted))


def show_next(console: Console, commands: Iterable[str]) -> None:
    """Print the next commands."""
    # What a terminal cannot show cannot be typed either.
    if shown := list(filter(str.isprintable, commands)):
        console.line()
        console.commands("Next:", shown)


def _summary(context: Context, kept: Kept) -> None:
    console, state, plan = context.console, context.state, context.plan
    rows: dict[str, Any] = {}
    if plan.training:
        seconds = sum(figures.get("seconds", 0.0) for figures in state.history)
        rows["Epochs"] = f"{len(state.history)}, trained in {format_duration(seconds)} ({seconds:.1f} s)"
    if state.gpu_bytes:
        rows["GPU memory"] = f"{format_bytes(state.gpu_bytes)} (peak of one worker)"
    places = _places(state, plan, context.record)
    if not console.brief:
        console.section("Results", {**rows, **places})
    console.line()
    console.table(*_epochs(state, kept, training=plan.training is not None))
    parts = context.record.parts()
    if 0 < len(parts) <= _MOST_CLASSES:
        console.line()
        console.table(*_by_part(parts))
    if state.final_test is not None:
        console.line()
        _show_final_test(console, state.final_test, context.record.final_test_parts())
    if console.brief:
        console.line()
        console.rows(places, _BRIEF, ": ")


def _show_final_test(console: Console, done: FinalTested, parts: Mapping[str, Mapping[str, float]]) -> None:
    """Show the figures of the final test and, if they are few, of its classes or numbers."""
    found = done.found
    figures = ({} if found.loss is None else {"loss": found.loss}) | found.figures
    shown = ", ".join(f"{spell(name)} {figure:.4f}" for name, figure in figures.items())
    samples = f"{done.num_samples:,} samples, model of epoch {done.epoch}"
    console.line(f"Final test ({samples}): {shown}")
    if 0 < len(parts) <= _MOST_CLASSES:
        console.table(*_by_part(parts))


def _by_part(parts: Mapping[str, Mapping[str, float]]) -> Table:
    """The table of the figures of each class, or of each number."""
    names = list(next(iter(parts.values())))
    headings = [name.upper() if name in ("iou", "r2") else title(name) for name in names]
    rows = [[name, *(_figure(key, value) for key, value in figures.items())] for name, figures in parts.items()]
    return rows, ["Class" if _COUNTS & set(names) else "Column", *headings]


def _figure(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if name in _COUNTS:
        return f"{value:,.0f}"
    return f"{value:.4g}" if is_cost(name) else f"{value:.3f}"


def interruption(where: Interrupted, folder: str | None, command: tuple[str, ...] | None) -> str:
    """Where a run was interrupted and how to resume it; `command` started the run, None if no command did."""
    how = "Nothing was saved: checkpoints.save is missing" if folder is None else resuming(command)
    return f"Interrupted after batch {where.batch} of epoch {where.epoch}. {how}"


def resuming(command: tuple[str, ...] | None) -> str:
    """How to resume an interrupted run."""
    if command is None:
        return "Resume with `--resume`"
    words = [*command, *(() if "--resume" in command else ("--resume",))]
    return f"Resume with: {shlex.join(words)}"


def predicting(command: tuple[str, ...], checkpoint: str, nn: NeuralNetwork) -> str | None:
    """A command that predicts with a checkpoint of a training, in the form of the `command` that was typed before.

    None if it is not known how inputs are read. A generator needs none.
    """
    if not describe_reading(nn.data):
        return None
    of_what = ["--samples", "100"] if application_of(nn).generates else ["FILE_OR_FOLDER"]
    return shlex.join([*_program(command), "predict", "--checkpoint", format_path(checkpoint), *of_what])


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    """The words with which rayrml itself was called."""
    return command[:3] if command[1:2] == ("-m",) else command[:1]


def _next_commands(state: RunState, plan: Plan, command: tuple[str, ...], checkpoint: str | None) -> Iterator[str]:
    if plan.training is None:
        kept = state.saved.get("predictions", [])
        if kept and not storage.is_uri(kept[-1]):
            yield look_at(kept[-1])
        return
    if checkpoint is not None and (next_one := predicting(command, checkpoint, plan.config.neural_network)):
        yield next_one
    run = plan.config.neural_network.checkpoints.save or plan.config.neural_network.outfile
    if run is not None:
        yield shlex.join([*_program(command), "plot", format_path(run)])


def look_at(path: str) -> str:
    """A command that lists the predictions in a local file with their shapes."""
    # With double quotes, which a shell accepts within single quotes.
    return shlex.join(["python", "-c", f"import h5py; h5py.File({json.dumps(format_path(path))}).visititems(print)"])


def _epochs(state: RunState, kept: Kept, *, training: bool) -> Table:
    """The table of the last and the best epoch, or of the evaluation if there was no training."""
    last, top = state.history[-1], find_best(state.history)
    metric, others = find_metric(state.history), list_others(state.history)
    names = [name for name in (*LOSSES, metric, *others) if name and any(name in row for row in state.history)]
    headings = [title(name) for name in names]
    if not training:
        return [_values(last, names)], headings
    marked = {"last, the best": last} if top == last else {"last": last, **({} if top is None else {"best": top})}
    rows = []
    for mark, figures in marked.items():
        path = kept.get(int(figures["epoch"])) or (kept.get(BEST) if figures is top else None)
        checkpoint = "not kept" if path is None else storage.split(path)[1]
        rows.append([f"{figures['epoch']:g} ({mark})", *_values(figures, names), checkpoint])
    return rows, ["Epoch", *headings, "Checkpoint"]


def _values(figures: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{figures[name]:.4f}" if name in figures else "-" for name in names]


def _find_kept(context: Context) -> Kept:
    """The run's checkpoints that are there; of those from before it was interrupted, the ones that are shown."""
    state, folder = context.state, context.plan.config.neural_network.checkpoints.save
    saved = [*state.saved.get("best", []), *state.saved.get("checkpoint", [])]
    found: Kept = {epoch_of(path) or BEST: path for path in saved}
    if context.resumed and folder is not None:
        shown = {int(row["epoch"]) for row in (*state.history[-1:], find_best(state.history)) if row} - found.keys()
        there = {epoch: path for epoch, path in list_checkpoints(folder).items() if epoch in shown}
        found |= {epoch: path for epoch, path in there.items() if _is_of_run(path, state.history[:epoch])}
        if best_path(folder) in list_times(folder):
            found[BEST] = best_path(folder)
    return found


def _is_of_run(path: str, history: Sequence[Mapping[str, float]]) -> bool:
    """Whether a file is the checkpoint of a run with this history; a folder may hold those of other runs."""
    try:
        return load(path).history == history
    except DataError:  # it is of no use, whoever wrote it
        return False


def _choose(kept: Kept, state: RunState) -> str | None:
    """The checkpoint to predict with: the best epoch's if it was kept, otherwise the last one."""
    top, epochs = find_best(state.history), [epoch for epoch in kept if isinstance(epoch, int)]
    if BEST in kept or not epochs:
        return kept.get(BEST)
    return kept.get(int(top["epoch"]) if top else 0, kept[max(epochs)])


def _places(state: RunState, plan: Plan, record: Record) -> dict[str, str]:
    """The locations of the run's files, by kind."""
    nn = plan.config.neural_network
    found = {
        "Best model": state.saved.get("best", []),
        "Checkpoints": state.saved.get("checkpoint", []),
        "Predictions": state.saved.get("predictions", []),
        "Pictures": [path for kind in FOLDERS for path in state.saved.get(kind, [])],
        "Plots": state.saved.get("plots", []),
        "Report": state.saved.get("report", []),
        "Record": [storage.join(record.folder, CONFIG)] if record.folder and plan.training else [],
        "Figures": [storage.join(record.folder, METRICS)] if record.folder and not plan.training else [],
        "Logs": log_paths(nn.outfile) if nn.outfile else [],
    }
    places = {name: _listed(paths) for name, paths in found.items() if paths}
    if tables := state.saved.get("table", []):
        places["Predictions"] = ", ".join([places["Predictions"], *map(format_path, tables)])
    if "Record" in places:
        places["Record"] = f"{CONFIG}, history.csv, metrics.json, ... in {format_path(record.folder or '')}"
    return places


def _listed(paths: Sequence[str]) -> str:
    """The paths if they are few, otherwise the last one and the number of the others."""
    if len(paths) <= 2:
        return ", ".join(map(format_path, paths))
    return f"{format_path(paths[-1])} and {len(paths) - 1} earlier ones"
