"""Which detections of objects in images are right, at ten thresholds of their overlap with true boxes.

Source: pycocotools 2.0.11, `COCOeval.computeIoU` and `COCOeval.evaluateImg`, for boxes of all sizes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU; bit i of a row is that of number i
MOST_IN_CLASS = 100  # detections of one class in one image that count
# What is known of a detection, in 24 bytes: what workers exchange.
ROW = np.dtype(
    [
        ("score", np.float64),
        ("class", np.int32),
        ("image", np.int32),  # its number among all images, in the order in which detections of equal scores count
        ("rank", np.int16),  # its place among the detections of the class in the image
        ("hits", np.uint16),  # bits: it found a box
        ("ignored", np.uint16),  # bits: it found an ignored box, so that it counts neither way
    ],
    align=True,
)
_REACHED = np.minimum(THRESHOLDS, 1 - 1e-10)
_BITS = 1 << np.arange(len(THRESHOLDS))
_MOST_PAIRS = 1 << 20  # whose overlap is computed at once


@dataclasses.dataclass(frozen=True, slots=True)
class Detections:
    """Detected boxes of some images.

    Attributes:
        rows: (D, 6) xmin, ymin, xmax, ymax, score, class index; of equal scores the first counts first.
        starts: (N + 1,) ints, the detections of image i are the rows from `starts[i]` to `starts[i + 1]`.
    """

    rows: np.ndarray
    starts: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class Truths:
    """True boxes of some images.

    Attributes:
        corners: (M, 4) xmin, ymin, xmax, ymax.
        classes: (M,) class indices.
        ignored: (M,) bool, whether a box is neither to be found nor a mistake if found.
        starts: (N + 1,) ints, the boxes of image i are the rows from `starts[i]` to `starts[i + 1]`.
    """

    corners: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    starts: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class _Pairs:
    """Detections and true boxes of the same class and image that overlap by the lowest threshold or more.

    Attributes:
        found: (P,) the detection of each, a row of the sorted detections.
        true: (P,) its true box, a row of the sorted truths.
        overlap: (P,) float64, IoU; with an ignored box, the share of the detection that is in it.
        ignored: (P,) bool, whether the true box is ignored.
    """

    found: np.ndarray
    true: np.ndarray
    overlap: np.ndarray
    ignored: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> _Pairs:
        return _Pairs(self.found[rows], self.true[rows], self.overlap[rows], self.ignored[rows])


def match(numbers: np.ndarray, detections: Detections, truths: Truths) -> np.ndarray:
    """A `ROW` for each of the best 100 detections of each class in each of N images with these numbers (N,).

    The best detection takes the free true box that it overlaps most, of equals the last, then the next one. Ignored
    boxes are taken if no other fits, and stay free.
    """
    num_classes = 1 + int(max(detections.rows[:, 5].max(initial=0), truths.classes.max(initial=0)))
    keys = _image_of_each(detections.starts) * num_classes + detections.rows[:, 5].astype(np.int64)
    order = np.lexsort((-detections.rows[:, 4], keys))
    keys = keys[order]
    rank = _places_in_runs(keys)
    best = rank < MOST_IN_CLASS
    order, keys, rank = order[best], keys[best], rank[best]

    rows = np.zeros(len(order), ROW)
    rows["class"], rows["score"], rows["rank"] = keys % num_classes, detections.rows[order, 4], rank
    rows["image"] = np.asarray(numbers)[keys // num_classes]
    true_keys = _image_of_each(truths.starts) * num_classes + truths.classes
    true_order = np.lexsort((truths.ignored, true_keys))
    true = (true_keys[true_order], truths.corners[true_order])
    pairs = _pair((keys, detections.rows[order, :4]), true, truths.ignored[true_order])
    rows["hits"], rows["ignored"] = _take(pairs, keys, len(true_order))
    return rows


def _image_of_each(starts: np.ndarray) -> np.ndarray:
    """(rows,) int64, the image of each row."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def _places_in_runs(keys: np.ndarray) -> np.ndarray:
    """(n,) the place of each row among consecutive equal ones, from 0."""
    places = np.arange(len(keys))
    begins = np.diff(keys, prepend=-1) != 0
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def _pair(found: tuple[np.ndarray, np.ndarray], true: tuple[np.ndarray, np.ndarray], ignored: np.ndarray) -> _Pairs:
    """The pairs that overlap enough.

    Args:
        found: of detections, what tells image and class (D,) in rising order, and the corners (D, 4).
        true: the same of true boxes.
        ignored: (M,) which of these are ignored.
    """
    keys, corners = found
    first, behind = (np.searchsorted(true[0], keys, side) for side in ("left", "right"))
    counts = behind - first
    with_truths = np.flatnonzero(counts)
    first, counts = first[with_truths], counts[with_truths]
    ends = counts.cumsum()
    blocks = np.unique(np.searchsorted(ends, np.arange(0, ends[-1], _MOST_PAIRS), "left")) if len(ends) else []
    parts = [_Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, bool)))]
    for rows in np.split(np.arange(len(with_truths)), blocks[1:]):
        one = np.repeat(rows, counts[rows])
        other = np.arange(len(one)) + np.repeat(first[rows] - (counts[rows].cumsum() - counts[rows]), counts[rows])
        one = with_truths[one]
        overlap = _overlaps(corners[one].astype(np.float64), true[1][other].astype(np.float64), ignored[other])
        enough = overlap >= _REACHED[0]
        parts.append(_Pairs(one[enough], other[enough], overlap[enough], ignored[other[enough]]))
    return _Pairs(
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.overlap for part in parts]),
        np.concatenate([part.ignored for part in parts]),
    )


def _overlaps(found: np.ndarray, true: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """(P,) IoU of boxes (P, 4) each; with an ignored one, intersection / area of the detected box.

    Source: maskApi.c, `bbIou`, which takes corners and sizes: rounding must be the same at the thresholds.
    """
    size, true_size = found[:, 2:] - found[:, :2], true[:, 2:] - true[:, :2]
    ends = np.minimum(found[:, :2] + size, true[:, :2] + true_size)
    common = np.maximum(ends - np.maximum(found[:, :2], true[:, :2]), 0).prod(1)
    area = size.prod(1)
    union = np.where(ignored, area, area + true_size.prod(1) - common)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def _take(pairs: _Pairs, keys: np.ndarray, num_truths: int) -> tuple[np.ndarray, np.ndarray]:
    """For each detection, at which thresholds it takes a box, and at which an ignored one, as bits: (D,) each.

    All images and classes take turns together: first the best detection of each that overlaps a box, then the second.
    """
    hits, on_ignored = np.zeros((2, len(keys)), np.int64)
    candidates, own = np.unique(pairs.found, return_inverse=True)
    turn = _places_in_runs(keys[candidates])[own]
    # At the end of a detection's pairs is the one that it prefers.
    order = np.lexsort((pairs.true, pairs.overlap, ~pairs.ignored, pairs.found, turn))
    pairs, turn = pairs[order], turn[order]
    taken = np.zeros((num_truths, len(THRESHOLDS)), bool)
    for rows in np.split(np.arange(len(turn)), np.flatnonzero(np.diff(turn)) + 1) if len(turn) else ():
        now = pairs[rows[0] : rows[-1] + 1]
        fits = (now.overlap[:, None] >= _REACHED) & (now.ignored[:, None] | ~taken[now.true])
        begins = np.flatnonzero(np.diff(now.found, prepend=-1))
        last = np.maximum.reduceat(
            np.where(fits, np.arange(len(rows))[:, None], -1), begins
        )  # (candidates, thresholds)
        some = last >= 0
        taken[now.true[last[some]], np.nonzero(some)[1]] = True
        passed = some & now.ignored[last]
        hits[now.found[begins]], on_ignored[now.found[begins]] = (some & ~passed) @ _BITS, passed @ _BITS
    return hits, on_ignored
