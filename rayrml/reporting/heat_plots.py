"""An image beside a map of what speaks for a class in it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from rayrml.formatting import shorten_name
from rayrml.reporting.plots import DPI

_INCHES = 4.0
_OPACITY = 0.6  # of the strongest region


def draw_heat(image: np.ndarray, heat: np.ndarray, title: str, subtitle: str) -> Figure:
    """The image (H, W) or (H, W, 3) in [0, 1], alone and below its map (H, W) from 0 to 1."""
    proportion = min(max(image.shape[0] / image.shape[1], 0.4), 2.5)
    height = _INCHES * proportion + 0.7
    figure = Figure(figsize=(2 * _INCHES, height), dpi=DPI)
    margins = {"left": 0.01, "right": 0.99, "bottom": 0.05 / height, "top": 1 - 0.65 / height, "wspace": 0.02}
    shown = {"va": "top", "parse_math": False}
    figure.suptitle(shorten_name(title, 70), y=1 - 0.05 / height, fontsize=12, fontweight="bold", **shown)
    figure.text(0.5, 1 - 0.35 / height, subtitle, ha="center", fontsize=8, **shown)
    for axes in (places := figure.subplots(1, 2, gridspec_kw=margins)):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    # Transparent where nothing speaks for the class, so that the image is still seen.
    places[1].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=_OPACITY * np.sqrt(np.clip(heat, 0, 1)))
    return figure
