"""mAP: how well detections of objects rank, as the mean over classes of precision averaged over recall.

Source: pycocotools 2.0.11, `COCOeval.accumulate` and `COCOeval.summarize`, for boxes of all sizes and 100 detections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rayrml.metrics.box_matching import MOST_IN_CLASS, ROW, THRESHOLDS, Detections, Truths, match

LOWEST_SCORE = 0.001  # of detections that mAP counts
RECALLS = np.linspace(0, 1, 101)  # at which precision is averaged
_EPSILON = np.spacing(1.0)
_AT_50, _AT_75 = 0, 5  # places in THRESHOLDS
_MOST_WAITING = 50_000  # detections to be matched at once


@dataclasses.dataclass(frozen=True)
class AveragePrecisions:
    """How good detections are; figures that no true box defines are None, those of classes without one NaN.

    Attributes:
        map: mean over the thresholds of IoU 0.50, 0.55, ..., 0.95 and over the classes.
        map50: mean over the classes at IoU 0.5.
        map75: at 0.75.
        columns: figures of each class by their names (C,): `boxes` to be found, `average_precision` over all thresholds
            and `average_precision_50` at IoU 0.5, `precision` and `recall` of the detections from the score threshold
            on at IoU 0.5; `precision` is 0 if there are none.
        curves: (C, 101) precision at the recalls 0, 0.01, ..., 1 at IoU 0.5; 0 beyond the largest recall.
    """

    map: float | None
    map50: float | None
    map75: float | None
    columns: dict[str, np.ndarray]
    curves: np.ndarray


class DetectionRows:
    """Collects what mAP needs of the detections in images, batch by batch.

    Attributes:
        counts: (C,) int64, how many boxes of each class are to be found, to be summed over workers.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros(num_classes, np.int64)
        self._rows: list[np.ndarray] = []
        self._waiting: list[tuple[np.ndarray, Detections, Truths]] = []
        self._num_waiting = 0

    def add(self, numbers: np.ndarray, detections: Detections, truths: Truths) -> None:
        """Add N images.

        Args:
            numbers: (N,) their numbers among all images, in the order in which detections of equal scores count.
            detections: all of them with `LOWEST_SCORE` or more.
            truths: their true boxes.
        """
        self.counts += np.bincount(truths.classes[~truths.ignored], minlength=len(self.counts))
        self._waiting.append((numbers, detections, truths))
        self._num_waiting += len(detections.rows)
        if self._num_waiting >= _MOST_WAITING:  # many images are matched as fast as one
            self._match()

    @property
    def rows(self) -> np.ndarray:
        """A `ROW` for each detection that counts, to be joined with those of other workers in any order."""
        self._match()
        return join_rows(self._rows)

    def _match(self) -> None:
        if self._waiting:
            numbers, detections, truths = zip(*self._waiting, strict=True)
            self._rows.append(match(np.concatenate(numbers), _join_detections(detections), _join_truths(truths)))
        self._waiting, self._num_waiting = [], 0


def join_rows(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all parts, such as those of several workers."""
    return np.concatenate([np.zeros(0, ROW), *parts])


def average_precisions(rows: np.ndarray, counts: np.ndarray, score_threshold: float) -> AveragePrecisions:
    """The figures from the rows of all images in any order, the same to the last bit for any order.

    Args:
        rows: (R,) `ROW`s of all workers.
        counts: (C,) how many boxes of each class are to be found.
        score_threshold: of `precision` and `recall`; the others take all rows.
    """
    rows = rows[counts[rows["class"]] > 0]
    places = rows["image"].astype(np.int64) * MOST_IN_CLASS + rows["rank"]
    rows = rows[np.lexsort((places, -rows["score"], rows["class"]))]
    limits = np.searchsorted(rows["class"], np.arange(len(counts) + 1))
    precisions = np.full((len(THRESHOLDS), len(counts), len(RECALLS)), np.nan)
    shares = np.full((2, len(counts)), np.nan)
    for number in np.flatnonzero(counts):
        own = rows[limits[number] : limits[number + 1]]
        for bit in range(len(THRESHOLDS)):
            precisions[bit, number] = _precision_at_recalls(own, bit, counts[number])
        shares[:, number] = _precision_and_recall(own[own["score"] >= score_threshold], counts[number])
    counting = precisions[:, counts > 0]
    whole, at_50, at_75 = (
        float(part.mean()) if part.size else None for part in (counting, counting[_AT_50], counting[_AT_75])
    )
    columns = {
        "boxes": counts.astype(np.float64),
        "average_precision": precisions.mean((0, 2)),
        "average_precision_50": precisions[_AT_50].mean(1),
        "precision": shares[0],
        "recall": shares[1],
    }
    return AveragePrecisions(whole, at_50, at_75, columns, precisions[_AT_50])


def _precision_at_recalls(rows: np.ndarray, bit: int, num_boxes: int) -> np.ndarray:
    """(101,) the precision of the first of the sorted rows that have each recall, or of a later one if that is higher.

    Only rows that found a box need to be looked at: recall rises at them, and precision falls between them.
    """
    counting = rows["hits"][rows["ignored"] >> bit & 1 == 0] >> bit & 1
    places = np.flatnonzero(counting)
    found = np.arange(1, len(places) + 1)
    precision = found / (places + 1 + _EPSILON)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(found / num_boxes, RECALLS)
    return np.append(best, 0)[first]


def _precision_and_recall(rows: np.ndarray, num_boxes: int) -> tuple[float, float]:
    """At IoU 0.5."""
    found, counting = (rows["hits"] & 1).sum(), (rows["ignored"] & 1 == 0).sum()
    return found / max(counting, 1), found / num_boxes


def _join_detections(parts: Sequence[Detections]) -> Detections:
    return Detections(np.concatenate([part.rows for part in parts]), _join_starts([part.starts for part in parts]))


def _join_truths(parts: Sequence[Truths]) -> Truths:
    return Truths(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.ignored for part in parts]),
        _join_starts([part.starts for part in parts]),
    )


def _join_starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Where the rows of each image start if those of all parts follow one another."""
    return np.cumsum(np.concatenate([[0], *(np.diff(starts) for starts in parts)]))
