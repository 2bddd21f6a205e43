"""What becomes of boxes in pixels: turned with their image, counted once, and cut at the image's edges."""

from __future__ import annotations

import dataclasses

import numpy as np

from rayrml.data.box_labels.table import Rows


def turn_boxes(corners: np.ndarray, sizes: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """(M, 4) boxes of stored images in the upright images.

    Source: EXIF 2.32, section 4.6.4, the tag Orientation.

    Args:
        corners: (M, 4) xmin, ymin, xmax, ymax in the images as they are stored.
        sizes: (M, 2) height and width of the stored images.
        orientations: (M,) the tag of each, 1 to 8.
    """
    heights, widths = sizes[:, 0], sizes[:, 1]
    axes = {
        "x": (corners[:, 0], corners[:, 2]),
        "y": (corners[:, 1], corners[:, 3]),
        "w - x": (widths - corners[:, 2], widths - corners[:, 0]),
        "h - y": (heights - corners[:, 3], heights - corners[:, 1]),
    }
    turned = corners.copy()
    for orientation, (across, down) in _UPRIGHT.items():
        own = orientations == orientation
        for column, axis in ((0, across), (1, down)):
            least, most = axes[axis]
            turned[own, column], turned[own, column + 2] = least[own], most[own]
    return turned


def clean(rows: Rows, sizes: np.ndarray) -> tuple[Rows, dict[str, int]]:
    """The boxes (M, 4) in pixels that count, cut at the edges, and how many were `duplicates`, `empty` or `cut`.

    Of boxes of the same class and corners in one image, the first one counts, or the first that is not ignored. Boxes
    without width or height, before or after they are cut, are left out.

    Args:
        rows: boxes by image, with pixels as corners.
        sizes: (N, 2) height and width of the images.
    """
    single = _find_different(rows)
    duplicates = len(rows) - len(single)
    rows = rows.keep(single)
    edges = sizes[rows.images][:, [1, 0, 1, 0]].astype(float)
    within = np.clip(rows.corners, 0, edges)
    filled = _have_area(rows.corners) & _have_area(within)
    # Shares of six digits pass the edge by less than this; it is not worth a word.
    cut = (np.abs(within - rows.corners) > _ROUNDING * edges).any(axis=1) & filled
    counts = {"duplicates": duplicates, "empty": int((~filled).sum()), "cut": int(cut.sum())}
    return dataclasses.replace(rows, corners=within).keep(filled), counts


def _find_different(rows: Rows) -> np.ndarray:
    """(K,) int64, ascending: the rows without repetitions of others."""
    keys = (rows.ignored, *rows.corners.T, rows.codes, rows.images)  # the last one is the first criterion
    order = np.lexsort(keys)
    ordered = rows.keep(order)
    same = np.ones(len(rows), bool)
    same[:1] = False
    for values in (ordered.images, ordered.codes, *ordered.corners.T):
        same[1:] &= values[1:] == values[:-1]
    return np.sort(order[~same])


def _have_area(corners: np.ndarray) -> np.ndarray:
    return (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])


# What the upright image's x and y are in the stored image, of height h and width w.
_UPRIGHT = {
    1: ("x", "y"),
    2: ("w - x", "y"),
    3: ("w - x", "h - y"),
    4: ("x", "h - y"),
    5: ("y", "x"),
    6: ("h - y", "x"),
    7: ("h - y", "w - x"),
    8: ("y", "w - x"),
}
_ROUNDING = 1e-5
