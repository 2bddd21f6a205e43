"""`rayrml plot`: plot the curves of runs, and compare them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from rayrml.commands.first_words import announce_reading
from rayrml.commands.json_output import add_json
from rayrml.commands.picture_option import add_picture, write_picture
from rayrml.errors import printable

if TYPE_CHECKING:
    from rayrml.reporting.history import Run

HELP = "plot the loss and metric of runs, and compare them"
EXAMPLES = (
    "rayrml plot model",
    "rayrml plot model other_model --output runs.svg",
    "rayrml plot model --json",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder checkpoints.save, or its outfile")
    add_picture(verb, "runs.png")
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Plot the runs, and print a line for each. Raises DataError for what is not a run, and for files."""
    announce_reading(*options.runs)
    from rayrml.formatting import format_path, format_table
    from rayrml.reporting import history

    runs = history.read_runs(options.runs)
    from rayrml.reporting import plots  # only for runs that can be drawn: matplotlib takes most of the time

    write_picture(plots.draw_comparison(runs), options.output)
    for line in format_table(map(_row, runs), ("Run", "Epochs", "Best epoch", "Best metric", "Last loss")):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"Saved plot: {format_path(options.output)}\n")
    options.document = {"plot": options.output, "runs": list(map(_to_object, runs))}


def _row(run: Run) -> tuple[str, str, str, str, str]:
    """A run's name, its number of epochs, the best one with its metric, and its last test (or training) loss."""
    from rayrml.config.figures import spell
    from rayrml.reporting import history

    best, metric, last = history.find_best(run.history), history.find_metric(run.history), run.history[-1]
    value = best.get(metric) if best and metric else None
    loss = last.get("test_loss", last.get("train_loss"))
    return (
        printable(run.name),
        str(len(run.history)),
        f"{best['epoch']:g}" if best else "-",
        f"{spell(metric)} {value:.4f}" if metric and value is not None else "-",
        f"{loss:.4f}" if loss is not None else "-",
    )


def _to_object(run: Run) -> dict[str, Any]:
    """A run for programs: the figures of all its epochs, of the best and of the last one."""
    from rayrml.reporting import history

    best, metric = history.find_best(run.history), history.find_metric(run.history)
    return {"name": run.name, "metric": metric, "best": best, "last": run.history[-1], "epochs": run.history}
