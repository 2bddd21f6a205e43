"""Plots of runs: curves over epochs, the confusion matrix, and samples with their predictions.

Drawing is separate from saving, so that tests can inspect a figure. Nothing here opens a window.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rayrml.config.figures import GENERATOR_LOSS, TEST_WASSERSTEIN, WASSERSTEIN, is_cost, spell, title
from rayrml.errors import printable
from rayrml.formatting import shorten_name
from rayrml.reporting import history as histories
from rayrml.reporting.history import Figures, Run

# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
DPI = 120
_MOST_MARKED = 40  # epochs of a curve whose points are shown
_MOST_NUMBERED = 30  # classes of a matrix whose cells hold numbers
_MOST_NAMED = 60  # classes of a matrix that shows all of their names
_LONGEST_ROW = 55  # characters of the names of all classes side by side
_SPREAD = 50.0  # ratio of losses above which the axis is logarithmic
_MOST_PANELS, _PANELS_IN_A_ROW = 6, 3  # of searched values
_LONGEST_IN_GRID = 15  # characters

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # hides the message about its font list


@dataclasses.dataclass(frozen=True)
class ClassSample:
    """A sample with its true and its predicted class.

    Attributes:
        image: (H, W) or (H, W, 3) in [0, 1].
        true: name of its class.
        predicted: name of the predicted one.
        probability: of the predicted one, None if it is unknown.
    """

    image: np.ndarray
    true: str
    predicted: str
    probability: float | None = None


@dataclasses.dataclass(frozen=True)
class ImageSample:
    """A sample whose target is an image: input, target and prediction.

    Attributes:
        input: (H, W) or (H, W, 3) in [0, 1].
        target: (H, W) class numbers or values, or (H, W, 3) in [0, 1].
        prediction: like the target.
        num_classes: number of classes, 0 for values.
    """

    input: np.ndarray
    target: np.ndarray
    prediction: np.ndarray
    num_classes: int = 0


def draw_loss(history: Sequence[Figures]) -> Figure:
    """Training and test loss over the epochs, with the lowest one marked, and the terms of the training loss.

    Of a critic there is no lowest one, but a test counterpart of a term.
    """
    figure, axes = _curves("Loss")
    _line(axes, history, "train_loss", label="training", color=BLUE)
    _line(axes, history, "test_loss", label="test", color=ORANGE)
    tested = any("test_loss" in figures for figures in history)
    _terms(axes, history)
    _line(axes, history, TEST_WASSERSTEIN, label="wasserstein (test)", color=COLORS[2])
    if not any(WASSERSTEIN in figures for figures in history):
        _mark(axes, history, "test_loss" if tested else "train_loss")
    _logarithmic_if_wide(axes)
    axes.legend(frameon=False)
    return figure


def draw_metric(history: Sequence[Figures]) -> Figure | None:
    """The metric and other figures over the epochs, with the best metric marked; None if there is no metric."""
    name = histories.find_metric(history)
    if name is None:
        return None
    figure, axes = _curves(title(name))
    _line(axes, history, name, label=f"{spell(name)} (test)", color=GREEN)
    for other, color in zip(_comparable_others(history), (BLUE, ORANGE), strict=False):
        _line(axes, history, other, label=f"{spell(other)} (test)", color=color, style="--")
    _mark(axes, history, name)
    axes.legend(frameon=False)
    return figure


def draw_learning_rate(history: Sequence[Figures]) -> Figure | None:
    """The learning rate of each epoch; None if it is unknown, or the same in several epochs."""
    rates = {figures["learning_rate"] for figures in history if "learning_rate" in figures}
    if not rates or (len(rates) == 1 and len(history) > 1):
        return None
    figure, axes = _curves("Learning rate")
    _line(axes, history, "learning_rate", label="learning rate", color=BLUE)
    if not _logarithmic_if_wide(axes):
        axes.set_ylim(bottom=0)
    return figure


def draw_comparison(runs: Sequence[Run]) -> Figure:
    """Loss and metric of one or more runs: the test loss if there is one; for a single run, also the training loss."""
    names = {histories.find_metric(run.history) for run in runs} - {None}
    figure = Figure(figsize=(10, 9 if names else 6), dpi=DPI, layout="constrained")
    places = figure.subplots(2 if names else 1, 1, squeeze=False)[:, 0]
    for place, heading in zip(places, ("Loss", "Metric"), strict=False):
        _label(place, heading if heading == "Loss" or len(names) > 1 else title(str(*names)))
    for number, run in enumerate(runs):
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        tested = any("test_loss" in figures for figures in run.history)
        if tested:
            _line(places[0], run.history, "test_loss", label=f"{run.name} (test)", color=color, style=style)
        if len(runs) == 1 or not tested:
            shown = {"color": "#555555" if tested else color, "style": "--" if tested else style}
            _line(places[0], run.history, "train_loss", label=f"{run.name} (training)", **shown)
        if (name := histories.find_metric(run.history)) is not None:
            several = len(names) > 1 or (len(runs) == 1 and _comparable_others(run.history))
            label = f"{run.name} ({spell(name)})" if several else run.name
            _line(places[1], run.history, name, label=label, color=color, style=style)
    if len(runs) == 1:
        _terms(places[0], runs[0].history)
        for other, color in zip(_comparable_others(runs[0].history), COLORS[1:], strict=False):
            _line(places[1], runs[0].history, other, label=f"{runs[0].name} ({spell(other)})", color=color, style="--")
    _logarithmic_if_wide(places[0])
    for place in places:
        place.legend(frameon=False, fontsize=9)
    return figure


def draw_trials(trials: Sequence[tuple[Run, Mapping[str, Any]]], name: str) -> Figure:
    """The figure `name` of a search's trials, best trial first: by epoch, and the best of each trial by its values."""
    values = list(trials[0][1])[:_MOST_PANELS]
    rows = 1 + -(-len(values) // _PANELS_IN_A_ROW)
    figure = Figure(figsize=(10, 1.5 + 3.5 * rows), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(rows, _PANELS_IN_A_ROW)
    axes = figure.add_subplot(grid[0, :])
    _label(axes, title(name))
    for run, _ in reversed(trials[1:]):
        _line(axes, run.history, name, label="", color="#BBBBBB")
    _line(axes, trials[0][0].history, name, label=f"best: {trials[0][0].name}", color=BLUE)
    axes.legend(frameon=False)
    for number, key in enumerate(values):
        place = figure.add_subplot(grid[1 + number // _PANELS_IN_A_ROW, number % _PANELS_IN_A_ROW])
        _values(place, trials, key, name)
    return figure


def _values(axes: Axes, trials: Sequence[tuple[Run, Mapping[str, Any]]], key: str, name: str) -> None:
    """A point per trial: its value of `key` and the figure of its best epoch, with the best trial marked."""
    _label(axes, shorten_name(key))
    axes.set_xlabel("")
    given = [values[key] for _, values in trials]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    names = list(map(str, given))
    ticks = sorted(set(names))
    places = given if numeric else [ticks.index(text) for text in names]
    for number, ((run, _), place) in reversed(list(enumerate(zip(trials, places, strict=True)))):
        epochs = [figures for figures in run.history if name in figures]
        best = min((histories.to_cost(figures, name) for figures in epochs), default=math.nan)
        value = best if is_cost(name) else -best
        color, size = (BLUE, 9) if number == 0 else ("#888888", 5)
        axes.plot([place], [value], "o", color=color, markersize=size)
    if not numeric:
        axes.set_xticks(range(len(ticks)), [shorten_name(text) for text in ticks], parse_math=False)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif min(given) > 0 and max(given) > _SPREAD * min(given):
        axes.set_xscale("log")


def draw_confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """How often each true class (row) was predicted as each class (column), coloured by the share of the row."""
    size = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(5.0 + 0.27 * size, 6.5), 13.0)
    figure = Figure(figsize=(side + 1.5, side), dpi=1200 / (side + 1.5), layout="constrained")
    axes = figure.subplots()
    # The square root makes a few mistakes among many classes visible.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    step = 1 if size <= _MOST_NAMED else -(-size // _MOST_NAMED)
    names = [shorten_name(name) for name in classes[::step]]
    rotation = 0 if max(map(len, names)) * len(names) <= _LONGEST_ROW else 90
    font = 10 if size <= 20 else 8 if size <= 40 else 6
    axes.set_xticks(range(0, size, step), names, rotation=rotation, fontsize=font, parse_math=False)
    axes.set_yticks(range(0, size, step), names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    correct = f"{counts.trace()} of {counts.sum()} samples right"
    axes.set_title(f"Confusion matrix: {correct}", loc="left", fontweight="bold")
    if size <= _MOST_NUMBERED:
        _number_cells(axes, counts, shares)
    return figure


def draw_class_samples(samples: Sequence[ClassSample], total: int) -> Figure:
    """A grid of samples of a `total`, each with its predicted class, and the true one if it differs."""
    wrong = sum(sample.true != sample.predicted for sample in samples)
    return _draw_grid(samples, f"{_describe_choice(len(samples), total)}: {wrong or 'none'} wrong")


def draw_mistakes(samples: Sequence[ClassSample], heading: str) -> Figure:
    """A grid of samples whose predicted class is wrong."""
    return _draw_grid(samples, heading)


def draw_examples(samples: Sequence[ClassSample], total: int) -> Figure:
    """A grid of training samples of a `total` with their classes, which have not been predicted."""
    return _draw_grid(samples, _describe_choice(len(samples), total, "training"))


def _draw_grid(samples: Sequence[ClassSample], heading: str) -> Figure:
    columns = 5
    rows = -(-len(samples) // columns)
    height = 2.35 * rows + 0.6  # inches
    # Laid out by hand: a layout engine takes as long for so many axes as everything else.
    figure = Figure(figsize=(10, height), dpi=DPI)
    margins = {"left": 0.01, "right": 0.99, "bottom": 0.1 / height, "top": 1 - 0.85 / height}
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**margins, "wspace": 0.06, "hspace": 0.25})
    figure.suptitle(heading, fontweight="bold", y=1 - 0.1 / height, va="top")
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, sample in zip(grid.flat, samples, strict=False):
        right = sample.true == sample.predicted
        axes.imshow(sample.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=BLUE if right else ORANGE, linewidth=1.5 if right else 4)
        predicted, true = (shorten_name(name, _LONGEST_IN_GRID) for name in (sample.predicted, sample.true))
        sure = "" if sample.probability is None else f" ({sample.probability:.2f})"
        text = predicted if right else f"✗ {predicted}{sure}\ntrue: {true}"
        weight = "normal" if right else "bold"
        axes.set_title(text, color=BLUE if right else ORANGE, fontsize=10, fontweight=weight, parse_math=False)
    return figure


def draw_image_samples(samples: Sequence[ImageSample], total: int) -> Figure:
    """A row per sample of a `total`: its input, its target and its prediction, the last two in the same colours."""
    figure = Figure(figsize=(10, 3.1 * len(samples) + 0.8), dpi=DPI, layout="constrained")
    figure.suptitle(_describe_choice(len(samples), total), fontweight="bold")
    grid = figure.subplots(len(samples), 3, squeeze=False)
    for row, sample in zip(grid, samples, strict=True):
        finite = sample.target[np.isfinite(sample.target)]
        limits = (0, max(sample.num_classes - 1, 1)) if sample.num_classes else (finite.min(), finite.max())
        colors = "cividis" if sample.num_classes != 2 else "gray"
        row[0].imshow(sample.input, cmap="gray", vmin=0, vmax=1)
        for axes, image in zip(row[1:], (sample.target, sample.prediction), strict=True):
            shown = np.clip(image, 0, 1) if image.ndim == 3 else image
            axes.imshow(shown, cmap=colors, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, heading in zip(grid[0], ("Input", "Target", "Prediction"), strict=True):
        axes.set_title(heading)
    return figure


def _describe_choice(count: int, total: int, what: str = "test") -> str:
    """Which of the samples are shown."""
    if count < total:
        return f"{count:,} of {total:,} {what} samples, evenly spread"
    return f"All {count:,} {what} samples" if count > 1 else f"The only {what} sample"


def render(figure: Figure, kind: str = "png") -> tuple[bytes, bool]:
    """The figure as a file of this kind, and whether all of its characters have a font."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure.savefig(content, format=kind)
    return content.getvalue(), not any("missing from" in str(warning.message) for warning in said)


def _curves(heading: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    _label(axes, heading)
    return figure, axes


def _label(axes: Axes, heading: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_title(heading, loc="left", fontweight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, history: Sequence[Figures], name: str, *, label: str, color: str, style: str = "-") -> None:
    points = [(figures["epoch"], figures[name]) for figures in history if name in figures]
    if points:
        marker = "o" if len(points) <= _MOST_MARKED else ""
        # matplotlib omits labels that begin with an underscore.
        shown = _plain(label).lstrip("_")
        axes.plot(*zip(*points, strict=True), style, marker=marker, markersize=4, label=shown, color=color)


def _comparable_others(history: Sequence[Figures]) -> list[str]:
    """The names of further figures that have the metric's scale: distances and errors have one of their own each."""
    name = histories.find_metric(history)
    return [] if name is None or is_cost(name) else histories.list_others(history)


def _terms(axes: Axes, history: Sequence[Figures]) -> None:
    """Thin curves of the terms of the training loss."""
    for name, color in zip(histories.list_terms(history), COLORS[2:], strict=False):
        of_generator = name == GENERATOR_LOSS
        what = "training, minimized by itself" if of_generator else "term of the training loss"
        label = f"{name.removesuffix('_loss').replace('_', ' ')} ({what})"
        _line(axes, history, name, label=label, color=color, style=":")


def _mark(axes: Axes, history: Sequence[Figures], name: str) -> None:
    """Mark the best epoch by a figure with a ring, explained in the legend, where no curve crosses the text."""
    chosen = histories.find_best(history, name)
    if chosen is None:
        return
    epoch, value = chosen["epoch"], chosen[name]
    what = "lowest" if is_cost(name) else "highest"
    label = f"{what}: {value:.4g} in epoch {epoch:g}"
    axes.plot([epoch], [value], "o", markersize=11, markerfacecolor="none", markeredgecolor="#000000", label=label)


def _logarithmic_if_wide(axes: Axes) -> bool:
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    wide = bool(len(values) and values.min() > 0 and values.max() > _SPREAD * values.min())
    if wide:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    return wide


def _number_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write counts into the cells, with the shares below them if there is room."""
    size = len(counts)
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        text = f"{counts[row, column]}\n{100 * share:.0f}%" if size <= 15 else str(counts[row, column])
        color = "white" if share > 0.3 else "black"
        font = 10 if size <= 12 else 7
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=font)


def _plain(text: str) -> str:
    """`text` with dollar signs escaped, so that they do not start a formula."""
    return printable(text).replace("$", r"\$")
