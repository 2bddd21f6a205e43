"""Mean average precision of boxes: the rows of the metric table; `average_precision` computes it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rayrml.metrics.metric import Metric


def mean_average_precision_of_boxes(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes and over IoU thresholds from 0.5 to 0.95 of the average precision of boxes.

    Source: pycocotools, `cocoeval.py`.
    """
    return Metric("map", _no_sums, _no_value, compares="boxes")


def mean_average_precision_of_boxes_50(*, ignore_index: int | None = None) -> Metric:
    """The same for the IoU threshold 0.5 alone."""
    return Metric("map50", _no_sums, _no_value, compares="boxes")


def _no_sums(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("boxes are matched by the evaluation of detections")


def _no_value(sums: torch.Tensor) -> float | None:
    raise RuntimeError("boxes are matched by the evaluation of detections")


METRICS: dict[str, Callable[..., Metric]] = {
    "map": mean_average_precision_of_boxes,
    "map50": mean_average_precision_of_boxes_50,
}
