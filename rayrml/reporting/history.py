"""The figures of a run's epochs as a table: writing `history.csv`, and reading it or a run's logs."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from rayrml import storage
from rayrml.config.figures import COLUMNS, TEST_LOSS, TRAIN_LOSS, WASSERSTEIN, is_cost, is_term
from rayrml.errors import DataError, Problem, explaining

FILE = "history.csv"

Figures = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run's epochs.

    Attributes:
        name: distinguishes it from other runs.
        history: the figures of each epoch.
    """

    name: str
    history: Sequence[Figures]


def to_csv(history: Sequence[Figures]) -> bytes:
    """A row for each epoch, with figures in full precision; a cell is empty if an epoch lacks the figure."""
    # A resumed run may have another metric than before.
    columns = dict.fromkeys([*COLUMNS, *(name for figures in history for name in figures)])
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows([figures.get(name, "") for name in columns] for figures in history)
    return text.getvalue().encode()


def from_csv(content: bytes, where: str) -> list[dict[str, float]]:
    """The figures of each epoch, read from the output of `to_csv`. Raises DataError if it is something else."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode()), strict=True))
        history = [{name: float(cell) for name, cell in row.items() if cell} for row in rows]
        return [{**figures, "epoch": int(figures["epoch"])} for figures in history]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, csv.Error):
        raise DataError(Problem(where, f"is not a run's history. Expected the columns {', '.join(COLUMNS)}")) from None


def find_metric(history: Sequence[Figures]) -> str | None:
    """The name of the metric among the figures, None if there is none; the latest if a resumed run has another."""
    return next(
        (name for figures in reversed(history) for name in figures if name not in COLUMNS and not is_term(name)), None
    )


def list_others(history: Sequence[Figures]) -> list[str]:
    """The names of further figures of the evaluations that have given the metric."""
    metric = find_metric(history)
    names = dict.fromkeys(name for figures in history if metric in figures for name in figures)
    return [name for name in names if name not in (*COLUMNS, metric) and not is_term(name)]


def list_terms(history: Sequence[Figures]) -> list[str]:
    """The names of the terms of which the training loss consists."""
    return list(dict.fromkeys(name for figures in history for name in figures if is_term(name)))


def to_cost(figures: Figures, name: str) -> float:
    """A number that is lower for a better epoch: a loss or an error itself, or the negative of any other figure."""
    return figures[name] if is_cost(name) else -figures[name]


def find_best(history: Sequence[Figures], figure: str | None = None) -> Figures | None:
    """The epoch with the best `figure`, by default the best metric or else the lowest loss; None if there is none.

    The loss of a critic says nothing of that.

    Of several the one with the lowest loss is the best, and of those the first. An epoch without a finite test loss is
    never the best.
    """
    history = [figures for figures in history if math.isfinite(figures.get(TEST_LOSS, 0.0))]
    losses = (TEST_LOSS,) if any(WASSERSTEIN in figures for figures in history) else (TEST_LOSS, TRAIN_LOSS)
    for name in filter(None, (find_metric(history), *losses) if figure is None else (figure,)):
        known = [figures for figures in history if name in figures and math.isfinite(figures[name])]
        if known:
            return min(known, key=lambda figures: (to_cost(figures, name), figures.get(TEST_LOSS, 0.0)))
    return None


def read_runs(runs: Sequence[str]) -> list[Run]:
    """The epochs of the runs with files in these folders, or with logs of these names.

    Raises:
        DataError: there are none, or they cannot be read; lists all such runs.
    """
    problems: list[Problem] = []
    histories: list[list[dict[str, float]]] = []
    for run in runs:
        try:
            histories.append(_history(run))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(*problems)
    return [Run(name, history) for name, history in zip(_names(runs), histories, strict=True)]


def _history(run: str) -> list[dict[str, float]]:
    with explaining(run, "cannot be read", (OSError, ValueError)):  # ValueError: an unknown URI, a null byte
        file = storage.join(run, FILE)
        history = from_csv(storage.read(file), file) if storage.is_file(file) else _from_logs(*_logs(run))
    if not history:
        raise DataError(Problem(run, "holds no finished epoch yet. Expected at least one"))
    return history


def _logs(run: str) -> tuple[str, str]:
    """The texts of a run's logs, which are named after `run`, with or without an ending."""
    for base in (run, f"{run}.txt"):
        training, test = storage.marked(base, "_train"), storage.marked(base, "_test")
        if storage.is_file(training) or storage.is_file(test):
            return _text(training), _text(test)
    expected = f"Expected a folder with the file {FILE}, or the start of its logs' names (out_x for out_x_train.txt)"
    raise DataError(Problem(run, f"is not a run. {expected}"))


def _names(runs: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that distinguish them."""
    parts = [[part for part in storage.decoded(run).split("/") if part] or [run] for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(runs)


def _text(path: str) -> str:
    return storage.read(path).decode(errors="replace") if storage.is_file(path) else ""


def _from_logs(training: str, test: str) -> list[dict[str, float]]:
    """The figures of each epoch from both logs: the mean loss of its batches, and its test results."""
    losses: dict[int, list[float]] = {}
    history: dict[int, dict[str, float]] = {}
    for epoch, (_, _, loss, *_) in _lines(training, 5):
        losses.setdefault(epoch, []).append(loss)
    for epoch, values in losses.items():
        history[epoch] = {"epoch": epoch, TRAIN_LOSS: sum(values) / len(values)}
    for epoch, (loss, *last) in _lines(test, 2):
        figures = history.setdefault(epoch, {"epoch": epoch})
        if not math.isnan(loss):  # it is for samples that are not compared with targets
            figures[TEST_LOSS] = loss
        # Without a metric, the last column is the negative loss; an undefined one is not a number.
        if last and last[0] != -loss and not math.isnan(last[0]):
            history[epoch]["metric"] = last[0]
    return [history[epoch] for epoch in sorted(history)]


def _lines(text: str, num_fields: int) -> Iterator[tuple[int, list[float]]]:
    """The epoch and the numbers of each line with at least this many fields; a log may end in mid-line."""
    for line in text.splitlines():
        epoch, *fields = line.split() or [""]
        if epoch.isdecimal() and len(fields) >= num_fields - 1:
            try:
                yield int(epoch), [float(field) for field in fields]
            except ValueError:
                continue
