"""Plots of networks that find objects: images with their boxes, and precision against recall of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rayrml.formatting import shorten_name
from rayrml.metrics.average_precision import RECALLS, AveragePrecisions
from rayrml.reporting.plots import COLORS, DPI, STYLES

_IN_A_ROW = 3
PICTURE = 460  # pixels of the longer side of an image
_GAP, _ABOVE, _TITLE = 15, 36, 45  # pixels between images, above each of them for its name, and above all of them
_NARROWEST = 950  # pixels of a figure, for its title
_MOST_NAMED = 10  # classes with a curve in a color
_COLORS = COLORS[:6]  # the last one is black


@dataclasses.dataclass(frozen=True)
class DetectionSample:
    """An image with its true boxes and what was found in it.

    Attributes:
        picture: (H, W, 3) uint8, boxes and names are drawn on it.
        name: of the image.
        num_boxes: how many objects are to be found.
        num_detections: how many were found.
    """

    picture: np.ndarray
    name: str
    num_boxes: int
    num_detections: int


def draw_detection_samples(samples: Sequence[DetectionSample], total: int, score_threshold: float) -> Figure:
    """A grid of images with their boxes, of a `total`; pixels of the pictures are pixels of the figure."""
    rows = [samples[start : start + _IN_A_ROW] for start in range(0, len(samples), _IN_A_ROW)]
    heights = [max(sample.picture.shape[0] for sample in row) + _ABOVE for row in rows]
    columns = min(len(samples), _IN_A_ROW)
    size = np.array([max(columns * (PICTURE + _GAP) + _GAP, _NARROWEST), sum(heights) + _TITLE + _GAP])
    figure = Figure(figsize=tuple(size / DPI), dpi=DPI)
    shown = f"{len(samples):,} of {total:,} test images" if len(samples) < total else _describe_all(total)
    title = f"{shown}: true boxes in white, detections with a score of {score_threshold:g} or more in colors"
    figure.suptitle(title, fontweight="bold", fontsize=11, y=1 - 0.25 * _TITLE / size[1], va="top")
    top = size[1] - _TITLE
    for row, height in zip(rows, heights, strict=True):
        for column, sample in enumerate(row):
            high, wide = sample.picture.shape[:2]
            left = _GAP + column * (PICTURE + _GAP) + (PICTURE - wide) // 2
            place = np.array([left, top - _ABOVE - high, wide, high]) / np.tile(size, 2)
            axes = figure.add_axes(place.tolist())
            axes.set_axis_off()
            axes.imshow(sample.picture, interpolation="nearest", aspect="auto")
            counts = f"{sample.num_boxes:,} true, {sample.num_detections:,} found"
            axes.set_title(f"{shorten_name(sample.name, 30)}: {counts}", fontsize=9, parse_math=False)
        top -= height
    return figure


def _describe_all(total: int) -> str:
    return f"All {total:,} test images" if total > 1 else "The only test image"


def draw_detection_curves(found: AveragePrecisions, names: Sequence[str], score_threshold: float) -> Figure | None:
    """Precision against recall of each class at IoU 0.5, and their mean; None if no class has boxes.

    Classes with most boxes have a color, and a point for the detections from the score threshold on.
    """
    counts = found.columns["boxes"]
    order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number] > 0]
    if not order:
        return None
    figure = Figure(figsize=(9, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for number in order[_MOST_NAMED:]:
        _curve(axes, found.curves[number], color="#BBBBBB", linewidth=0.8)
    if len(order) > 1:
        label = f"mean of {len(order)} classes: mAP50 {found.map50:.3f}"
        _curve(axes, found.curves[order].mean(0), color="#000000", linewidth=2.5, label=label)
    for place, number in enumerate(order[:_MOST_NAMED]):
        color, style = _COLORS[place % len(_COLORS)], STYLES[place // len(_COLORS) % len(STYLES)]
        value, boxes = found.columns["average_precision_50"][number], int(counts[number])
        label = f"{shorten_name(str(names[number]))}: AP50 {value:.3f} ({boxes:,} box{'es' if boxes > 1 else ''})"
        _curve(axes, found.curves[number], color=color, linestyle=style, label=label.replace("$", r"\$"))
        point = found.columns["recall"][number], found.columns["precision"][number]
        axes.plot(*([value] for value in point), "o", color=color, markersize=7, markeredgecolor="white")
    axes.set(xlabel=f"recall (points: score {score_threshold:g} or more)", ylabel="precision")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    more = f"; {_MOST_NAMED} of {len(order)} classes in color" if len(order) > _MOST_NAMED else ""
    title = f"Precision and recall at IoU 0.5: {int(counts.sum()):,} boxes{more}"
    axes.set_title(title, loc="left", fontweight="bold")
    axes.legend(loc="best", fontsize=9)
    return figure


def _curve(axes: Axes, precision: np.ndarray, **style: object) -> None:
    """The precision (101,) at the recalls 0, 0.01, ..., 1, each of which holds for recalls from the one before."""
    axes.step(RECALLS, precision, where="pre", **style)  # pyright: ignore[reportArgumentType]
