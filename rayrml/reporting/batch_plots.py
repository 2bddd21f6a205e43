"""A picture of a batch: each sample as an image or as curves, with its target in the title or beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rayrml.formatting import shorten_name
from rayrml.reporting.plots import COLORS, DPI

_PANELS_IN_A_ROW = 6
_MOST_PANELS = 24
_MOST_CURVES = 7  # channels of a signal
_LONGEST = 22  # characters of a title
_INCHES = 1.9  # width of a panel
LARGE = 415  # pixels that the image of a large one has, in rows of several


@dataclasses.dataclass(frozen=True)
class Panel:
    """What is drawn of a sample's input, or of its target.

    Attributes:
        values: (H, W) or (H, W, 3) of an image; (C, L) of curves.
        is_image: whether it is an image.
        limits: the values that are black and white, or the range of curves.
        title: one or two lines above it.
        is_large: whether it is twice as wide, for texts in the image.
    """

    values: np.ndarray
    is_image: bool
    limits: tuple[float, float] = (0.0, 1.0)
    title: str = ""
    is_large: bool = False


def most_samples(panels: int) -> int:
    """How many samples with so many panels each there is room for; a large panel counts as two."""
    return _MOST_PANELS // _PANELS_IN_A_ROW * max(_PANELS_IN_A_ROW // panels, 1)


def draw_batch(samples: Sequence[Sequence[Panel]], title: str) -> Figure:
    """The panels of samples, those of a sample next to each other."""
    panels, factor = len(samples[0]), 2 if samples[0][0].is_large else 1
    inches = _INCHES * factor
    in_a_row = max(min(_PANELS_IN_A_ROW // (panels * factor), len(samples)), 1)
    rows, columns = -(-len(samples) // in_a_row), in_a_row * panels
    proportions = max(_proportion(panel) for panel in samples[0])
    width, height = max(inches * columns, 6.0), (inches * proportions + 0.45) * rows + 0.5
    # Laid out by hand: a layout engine takes as long for so many axes as everything else.
    figure = Figure(figsize=(width, height), dpi=DPI)
    margins = {"left": 0.02, "right": 0.98, "bottom": 0.1 / height, "top": 1 - 0.85 / height}
    grid = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={**margins, "wspace": 0.08, "hspace": 0.3 / factor}
    )
    figure.suptitle(title, fontweight="bold", y=1 - 0.1 / height, va="top", fontsize=10, parse_math=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, sample in enumerate(samples):
        row, place = divmod(number, in_a_row)
        for axes, panel in zip(grid[row, place * panels :], sample, strict=False):
            _draw(axes, panel)
    return figure


def _proportion(panel: Panel) -> float:
    """Height by width, within what looks well."""
    if not panel.is_image:
        return 0.7
    return min(max(panel.values.shape[0] / panel.values.shape[1], 0.4), 2.0)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_axis_on()
    axes.set_xticks([])
    title = "\n".join(shorten_name(line, _LONGEST) for line in panel.title.split("\n"))
    axes.set_title(title, fontsize=8, parse_math=False)
    if panel.is_image:
        low, high = panel.limits
        shown: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high if high > low else low + 1}
        axes.imshow(panel.values, interpolation="nearest", **shown)
        axes.set_yticks([])
        return
    axes.tick_params(labelsize=6, length=2, pad=1, direction="in")
    for number, curve in enumerate(panel.values[:_MOST_CURVES]):
        mark = "o" if len(curve) <= 1 else "-"
        axes.plot(curve, mark, color=COLORS[number % len(COLORS)], linewidth=0.9, markersize=3)
    low, high = panel.limits
    room = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)
