"""What a report says of a run: all that is in its folder, as text, tables and pictures."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rayrml import storage
from rayrml.config.figures import spell, title
from rayrml.errors import DataError, Problem, explaining, printable
from rayrml.formatting import format_duration, format_path
from rayrml.reporting import confusion_table, history
from rayrml.reporting.confusion_table import Pair
from rayrml.reporting.file_names import (
    CONFIG,
    CONFUSION_MATRIX,
    CONFUSION_TABLE,
    CURVES,
    DATA,
    ENVIRONMENT,
    EXAMPLES,
    METRICS,
    MISTAKES,
    PLOTS,
    PRECISION_RECALL,
    PREDICTIONS,
    SAMPLES,
    SCATTER,
)
from rayrml.reporting.history import Run
from rayrml.saving.checkpoint_folder import best_path

_TITLES = {
    "loss": "Loss",
    "metric": "Metric",
    "learning_rate": "Learning rate",
    SCATTER: "Predicted and true values",
    PRECISION_RECALL: "Precision and recall",
    CONFUSION_MATRIX: "Confusion matrix",
    PREDICTIONS: "Predictions",
    MISTAKES: "The worst mistakes",
    SAMPLES: "Generated samples",
    EXAMPLES: "Training samples",
}
_CHARTS = (*CURVES, SCATTER, PRECISION_RECALL, CONFUSION_MATRIX)
_MOST_CONFUSIONS = 30
_MOST_CLASSES_IN_MATRIX = 400  # beyond, the pairs that are confused most often say more
_ROLES = {"training": "Training", "test": "Test", "final_test": "Final test"}
_COUNTS = {"samples", "pixels", "boxes"}

Table = tuple[list[str], list[list[str]]]  # headings and rows


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Attributes:
        title: what it shows.
        source: the file itself as a `data:` URI.
        chart: whether it is lines on white paper, whose colours can be changed.
    """

    title: str
    source: str
    chart: bool

    @classmethod
    def of(cls, title: str, content: bytes, *, chart: bool) -> Picture:
        """The picture in a PNG file."""
        return cls(title, f"data:image/png;base64,{base64.b64encode(content).decode()}", chart)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A confusion matrix, without what did not come.

    Attributes:
        classes: their names, in the order of rows and columns.
        cells: (row, column, number, share of the row) of each pair of classes that came.
    """

    classes: list[str]
    cells: list[tuple[int, int, int, float]]


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What a report says of a run; what its folder lacks is empty.

    Attributes:
        run: its name and the figures of its epochs.
        results: figures of the best and of the last epoch, and of the final test.
        pictures: by their names in `plots`.
        data: the samples of each role.
        classes: how many samples of each class there are, by role.
        parts: the figures of each class or column after the last epoch.
        matrix: None without classes, or if they are too many to be shown.
        confusions: pairs of classes that are confused, the most frequent first: true, predicted, number, share.
        config: the configuration without the network's layers.
        layers: the network's layers, "" if they are unknown.
        environment: where it ran.
        commands: how to repeat it, and how to use its network.
    """

    run: Run
    results: Table
    pictures: Mapping[str, Picture]
    data: Table
    classes: Table
    parts: Table
    matrix: Matrix | None
    confusions: list[tuple[str, str, int, str]]
    config: Mapping[str, Any]
    layers: str
    environment: Mapping[str, Any]
    commands: list[tuple[str, str]]


def read_reports(runs: Sequence[str]) -> list[RunReport]:
    """What is known of the runs with files in these folders, or with logs of these names.

    Raises:
        DataError: there are none, or they cannot be read; lists all such runs.
    """
    found = history.read_runs(runs)
    return [_read(folder, run) for folder, run in zip(runs, found, strict=True)]


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """The values of nested objects, by their dotted keys."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    inner = [flatten(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
    return {key: item for part in inner for key, item in part.items()}


def _read(folder: str, run: Run) -> RunReport:
    metrics, data = _read_object(folder, METRICS), _read_object(folder, DATA)
    config = _read_object(folder, CONFIG)
    network = dict(config.get("neural_network", {}))
    layers = network.pop("layers", "")
    pairs = _read_pairs(folder)
    named = {"neural_network": network, **{key: value for key, value in config.items() if key != "neural_network"}}
    return RunReport(
        run=run,
        results=_results(run, metrics),
        pictures=_read_pictures(folder),
        data=_describe_data(data),
        classes=_count_classes(data),
        parts=_by_part(metrics),
        matrix=_make_matrix(pairs),
        confusions=_find_confusions(pairs),
        config=named if config else {},
        layers=json.dumps(layers, indent=1, ensure_ascii=False) if layers else "",
        environment=flatten(_read_object(folder, ENVIRONMENT) or {}),
        commands=_commands(folder, known=bool(config)),
    )


def _read_object(folder: str, name: str) -> dict[str, Any]:
    """The object in a file of a run, {} without the file. Raises DataError if it holds something else."""
    path = storage.join(folder, name)
    with explaining(path, "cannot be read", (OSError, ValueError)):
        if not storage.is_file(path):
            return {}
        found = json.loads(storage.read(path).decode(errors="surrogateescape"))
    if not isinstance(found, dict):
        raise DataError(Problem(path, "is not a file that a run has written. Expected an object"))
    return found


def _read_pairs(folder: str) -> list[Pair]:
    path = storage.join(folder, CONFUSION_TABLE)
    with explaining(path, "cannot be read"):
        return confusion_table.from_csv(storage.read(path), path) if storage.is_file(path) else []


def _read_pictures(folder: str) -> dict[str, Picture]:
    found = {}
    for name, heading in _TITLES.items():
        path = storage.join(folder, *PLOTS[name].split("/"))
        with explaining(path, "cannot be read"):
            if storage.is_file(path):
                found[name] = Picture.of(heading, storage.read(path), chart=name in _CHARTS)
    return found


def _results(run: Run, metrics: Mapping[str, Any]) -> Table:
    """The figures of the best epoch, the last one, and the final test."""
    best, last, tested = history.find_best(run.history), run.history[-1], metrics.get("final_test", {})
    columns = {"best epoch": best or {}, "last epoch": last, "final test": tested}
    shown = {heading: figures for heading, figures in columns.items() if figures}
    names = dict.fromkeys(name for figures in shown.values() for name, value in figures.items() if _is_figure(value))
    rows = [[title(name), *(_figure(name, figures.get(name)) for figures in shown.values())] for name in names]
    seconds = sum(figures.get("seconds", 0.0) for figures in run.history)
    rows.append(["Time of training", format_duration(seconds), *[""] * (len(shown) - 1)])
    return ["", *shown], rows


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) or value is None


def _describe_data(data: Mapping[str, Any]) -> Table:
    rows = [
        [
            _ROLES.get(role, role),
            f"{found.get('samples', 0):,}",
            " x ".join(map(str, found.get("shape", []))),
            str(len(found["classes"])) if "classes" in found else "",
            printable(str(found.get("path", ""))),
        ]
        for role, found in data.items()
        if isinstance(found, dict)
    ]
    return ["", "Samples", "Shape", "Classes", "Folder"], rows


def _count_classes(data: Mapping[str, Any]) -> Table:
    roles = {role: found["classes"] for role, found in data.items() if isinstance(found, dict) and "classes" in found}
    names = dict.fromkeys(name for counts in roles.values() for name in counts)
    rows = [[printable(name), *(f"{counts.get(name, 0):,}" for counts in roles.values())] for name in names]
    return ["Class", *(_ROLES.get(role, role) for role in roles)], rows


def _by_part(metrics: Mapping[str, Any]) -> Table:
    kind = "classes" if "classes" in metrics else "columns"
    parts: Mapping[str, Mapping[str, Any]] = metrics.get(kind, {})
    if not parts:
        return [], []
    names = list(next(iter(parts.values())))
    rows = [[printable(part), *(_figure(name, figures.get(name)) for name in names)] for part, figures in parts.items()]
    headings = [name.upper() if name in ("iou", "r2") else title(name) for name in names]
    return ["Class" if kind == "classes" else "Column", *headings], rows


def _figure(name: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if name in _COUNTS or name == "epoch":
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _make_matrix(pairs: Sequence[Pair]) -> Matrix | None:
    names = list(dict.fromkeys([*(pair.true for pair in pairs), *(pair.predicted for pair in pairs)]))
    if not 0 < len(names) <= _MOST_CLASSES_IN_MATRIX:
        return None
    places, totals = {name: place for place, name in enumerate(names)}, _totals(pairs)
    cells = [
        (places[pair.true], places[pair.predicted], pair.num_samples, pair.num_samples / totals[pair.true])
        for pair in pairs
    ]
    return Matrix([printable(name) for name in names], cells)


def _find_confusions(pairs: Sequence[Pair]) -> list[tuple[str, str, int, str]]:
    totals = _totals(pairs)
    wrong = sorted((pair for pair in pairs if pair.true != pair.predicted), key=lambda pair: -pair.num_samples)
    return [
        (printable(true), printable(predicted), count, f"{100 * count / totals[true]:.1f} %")
        for true, predicted, count in wrong[:_MOST_CONFUSIONS]
    ]


def _totals(pairs: Sequence[Pair]) -> Counter[str]:
    """How many samples of each class there are."""
    totals: Counter[str] = Counter()
    for pair in pairs:
        totals[pair.true] += pair.num_samples
    return totals


def _commands(folder: str, *, known: bool) -> list[tuple[str, str]]:
    """What each command does, and the command."""
    if not known:
        return []
    config, model = format_path(storage.join(folder, CONFIG)), format_path(best_path(folder))
    return [
        ("Repeat the training", shlex.join(["rayrml", "run", config])),
        ("Predict", f"{shlex.join(['rayrml', 'predict', '--checkpoint', model])} FILE_OR_FOLDER"),
    ]


def name_figure(run: Run) -> str:
    """The run's best metric, or else its last loss, in a few words."""
    best, metric = history.find_best(run.history), history.find_metric(run.history)
    value = best.get(metric) if best and metric else None
    if metric and value is not None and best:
        return f"{spell(metric)} {value:.4g} in epoch {best['epoch']:g}"
    last = run.history[-1]
    loss = last.get("test_loss", last.get("train_loss"))
    return "" if loss is None else f"loss {loss:.4g} in epoch {last['epoch']:g}"
