"""The curve of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rayrml.reporting.plots import BLUE, DPI, ORANGE

_HEADROOM = 1.3  # of the losses' range, above the first ones: a loss that diverges would flatten all that matters


def draw_rates(
    rates: Sequence[float], losses: Sequence[float], smoothed: np.ndarray, suggested: float | None
) -> Figure:
    """The loss of each step and its moving mean by learning rate, with the suggested one marked."""
    figure = Figure(figsize=(10, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, ".", color="#AAAAAA", markersize=5, label="loss of each step")
    axes.plot(rates, smoothed, color=BLUE, label="moving mean")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_title("Loss while the learning rate grows", loc="left", fontweight="bold")
    if suggested is not None:
        height = float(np.interp(np.log(suggested), np.log(rates), smoothed))
        axes.axvline(suggested, color=ORANGE, linewidth=1)
        axes.plot([suggested], [height], "o", color=ORANGE, label=f"suggested: {suggested:.2g}")
    finite = smoothed[np.isfinite(smoothed)]
    if len(finite):
        low, high = float(finite.min()), float(finite[: max(len(finite) // 2, 1)].max())
        room = (high - low) or 1.0
        axes.set_ylim(low - 0.1 * room, high + _HEADROOM * room)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
