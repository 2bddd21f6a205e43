"""The colors of classes: as different as possible, also for people who confuse red and green."""

from __future__ import annotations

import functools
import itertools

import numpy as np

_BLACK, _GRAY = (0, 0, 0), (128, 128, 128)
# Source: Okabe and Ito, Color Universal Design, 2008.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_LEVELS = (0, 36, 73, 109, 146, 182, 219, 255)  # of each channel of the other colors
# Linear RGB as it appears without the cones for green. Source: Machado et al., doi 10.1109/TVCG.2009.113, severity 1.
_DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# Source: IEC 61966-2-1, for white D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
NUM_COLORS = 255
UNKNOWN = _GRAY


@functools.cache
def class_colors() -> np.ndarray:
    """(255, 3) uint8: class 0 is black, and each further color differs from those before it as much as possible."""
    candidates = np.array(list(itertools.product(_LEVELS, repeat=3)))
    chosen = np.array([_BLACK, *_FIRST])
    views = [(_lab(candidates, blind=blind), blind) for blind in (False, True)]
    taken = np.concatenate([chosen, [_GRAY, (255, 255, 255)]])
    nearest = np.min([_distances(lab, _lab(taken, blind=blind)).min(1) for lab, blind in views], axis=0)
    while len(chosen) < NUM_COLORS:
        best = int(np.argmax(nearest))
        chosen = np.concatenate([chosen, candidates[best : best + 1]])
        for lab, _ in views:
            nearest = np.minimum(nearest, _distances(lab, lab[best : best + 1])[:, 0])
    return chosen.astype(np.uint8)


def colors_of(classes: np.ndarray) -> np.ndarray:
    """(..., 3) uint8: the colors of class numbers; those of later classes are used again."""
    return class_colors()[np.where(classes < NUM_COLORS, classes, classes % (NUM_COLORS - 1) + 1)]


def _lab(colors: np.ndarray, *, blind: bool) -> np.ndarray:
    """(N, 3) CIELAB of sRGB colors (N, 3) as seen with all cones, or without those for green (`blind`)."""
    shares = colors / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    if blind:
        linear = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    xyz = linear @ _TO_XYZ.T / _TO_XYZ.sum(1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(first[:, None] - second[None], axis=2)
