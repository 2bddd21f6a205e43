"""Plots of predictions for a table's columns: numbers against their targets, precision against recall of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rayrml.formatting import shorten_name
from rayrml.reporting.plots import BLUE, COLORS, DPI, ORANGE, STYLES

_MOST_PANELS, _IN_A_ROW = 9, 3
_MOST_CURVES = 10
_INCHES = 3.6  # of a panel


@dataclasses.dataclass(frozen=True)
class ColumnSamples:
    """Some samples with what the network says of each column.

    Attributes:
        names: of the columns.
        predictions: (n, K) numbers, or scores of classes.
        targets: (n, K) numbers, or 1 for the classes that a sample has.
        total: how many samples there are in all.
    """

    names: Sequence[str]
    predictions: np.ndarray
    targets: np.ndarray
    total: int

    @property
    def counted(self) -> str:
        """How many of the samples these are, in words."""
        shown = len(self.targets)
        return f"{shown:,} test samples" if shown == self.total else f"{shown:,} of {self.total:,} test samples"


def draw_scatter(samples: ColumnSamples) -> Figure:
    """A panel for each of the first columns: each sample's prediction against its target, and the diagonal."""
    count = min(len(samples.names), _MOST_PANELS)
    columns = min(count, _IN_A_ROW)
    rows = -(-count // columns)
    figure = Figure(figsize=(_INCHES * columns, _INCHES * rows + 0.6), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    more = f"; first {count} of {len(samples.names)} columns" if count < len(samples.names) else ""
    figure.suptitle(f"Predictions against targets: {samples.counted}{more}", fontweight="bold")
    for number, axes in enumerate(grid.flat):
        if number >= count:
            axes.set_axis_off()
            continue
        _panel(axes, samples.names[number], samples.targets[:, number], samples.predictions[:, number])
    return figure


def draw_precision_recall(samples: ColumnSamples) -> Figure | None:
    """Precision against recall of each of the most frequent classes; None if no sample has any."""
    flags = samples.targets > 0.5
    order = [int(i) for i in np.argsort(-flags.sum(0), kind="stable")[:_MOST_CURVES] if flags[:, i].any()]
    if not order:
        return None
    figure = Figure(figsize=(9, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for place, i in enumerate(order):
        precision, recall = _curve(samples.predictions[:, i], flags[:, i])
        area = float((np.diff(recall, prepend=0) * precision).sum())
        label = f"{shorten_name(samples.names[i])}: average precision {area:.3f} ({flags[:, i].sum()} samples)"
        style = STYLES[place // len(COLORS) % len(STYLES)]
        steps = np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision])
        axes.step(*steps, style, where="pre", color=COLORS[place % len(COLORS)], label=label.replace("$", r"\$"))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    more = "" if len(order) == len(samples.names) else f"; {len(order)} of {len(samples.names)} classes"
    axes.set_title(f"Precision and recall: {samples.counted}{more}", loc="left", fontweight="bold")
    axes.legend(loc="lower left", fontsize=9)
    return figure


def _panel(axes: Axes, name: str, targets: np.ndarray, predictions: np.ndarray) -> None:
    finite = np.concatenate([targets, predictions])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    edge = 0.04 * (high - low or 1.0)
    limits = (low - edge, high + edge)
    axes.plot(limits, limits, color=ORANGE, linewidth=1)
    axes.plot(targets, predictions, "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set_xlabel("target")
    axes.set_ylabel("prediction")
    axes.set_title(shorten_name(name), loc="left", fontweight="bold", parse_math=False)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)


def _curve(scores: np.ndarray, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each different score, the highest first; equal scores are counted together."""
    order = np.argsort(-scores, kind="stable")
    hits = flags[order].cumsum()
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return hits[ends] / (ends + 1), hits[ends] / max(int(hits[-1]), 1)
