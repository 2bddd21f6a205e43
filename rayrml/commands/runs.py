"""`rayrml runs`: list the runs below a folder with their figures."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from rayrml.commands.json_output import add_json
from rayrml.errors import printable

if TYPE_CHECKING:
    from rayrml.reporting.run_list import ListedRun

HELP = "list the runs below a folder with their figures"
EXAMPLES = ("rayrml runs", "rayrml runs models", "rayrml runs models --json")
_HEADINGS = ("Run", "Ended", "State", "Epochs", "Best epoch", "Metric", "Loss")


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="a folder with runs (default: the current folder)"
    )
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Print a line for each run, the newest last. Raises DataError if the folder cannot be read."""
    from rayrml.formatting import format_table
    from rayrml.reporting.run_list import list_runs

    runs, problems = list_runs(options.folder)
    for problem in problems:
        sys.stderr.write(f"rayrml: {problem}\n")
    options.document = list(map(_to_object, runs))
    if not runs:
        sys.stdout.write(f"No runs below {printable(options.folder)}\n")
        return
    rows = [_row(run, options.folder) for run in runs]
    used = [column for column in range(len(_HEADINGS)) if any(row[column] != "-" for row in rows)]
    for line in format_table(([row[k] for k in used] for row in rows), [_HEADINGS[k] for k in used]):
        sys.stdout.write(f"{line.rstrip()}\n")


def _to_object(run: ListedRun) -> dict[str, Any]:
    """A run for programs."""
    return {
        "folder": run.folder,
        "state": run.state,
        "epochs": len(run.history),
        "num_epochs": run.num_epochs,
        "changed": run.changed,
        "metric": run.metric,
        "best": run.best,
        "last": run.history[-1] if run.history else None,
        "settings": run.settings,
    }


def _row(run: ListedRun, folder: str) -> tuple[str, ...]:
    from rayrml.config.figures import spell

    best, metric = run.best or {}, run.metric
    wanted = "" if run.num_epochs is None else f"/{run.num_epochs}"
    return (
        printable(_relative(run.folder, folder)),
        time.strftime("%m-%d %H:%M", time.localtime(run.changed)),
        run.state,
        f"{len(run.history)}{wanted}",
        _number(best.get("epoch"), ".0f"),
        "-" if metric is None or metric not in best else f"{spell(metric)} {best[metric]:.4f}",
        _number(best.get("test_loss", best.get("train_loss")), ".4g"),
    )


def _relative(path: str, folder: str) -> str:
    """A run's path as one can type it, without the current folder."""
    return (path[2:] or ".") if folder in (".", "./") and path.startswith("./") else path


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
