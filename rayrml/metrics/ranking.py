"""Metrics of how well scores rank samples, for each class by itself; they need the scores of all samples at once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from rayrml.metrics.metric import Metric, counted


def mean_average_precision(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the area under the curve of precision against recall, as a sum of steps.

    Samples may have one class each, or any number of them. Classes that no sample has are left out.
    """
    return Metric("mean_average_precision", *_ranked(_average_precision, ignore_index), "samples", ranks=True)


def auroc(*, ignore_index: int | None = None) -> Metric:
    """Mean over classes of the probability that a sample of the class has a higher score than one of another class.

    That is the area under the ROC curve. Samples may have one class each, or any number of them. Classes that all
    samples have, or none, are left out.
    """
    return Metric("auroc", *_ranked(_area_under_roc, ignore_index), "samples", ranks=True)


def _ranked(
    of_class: Callable[[torch.Tensor, torch.Tensor], float | None], ignore_index: int | None
) -> tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Callable[[torch.Tensor], float | None]]:
    """The functions of a metric whose figure for one class this is."""
    return functools.partial(_scores_and_flags, ignore_index=ignore_index), functools.partial(_mean, of_class=of_class)


def _scores_and_flags(output: torch.Tensor, target: torch.Tensor, *, ignore_index: int | None) -> torch.Tensor:
    """A row for each sample that counts: its scores, then 1 or 0 for each class: (samples, 2 * classes)."""
    if target.is_floating_point() and target.shape == output.shape:
        flags = target > 0.5
    else:
        keep = counted(target, ignore_index)
        output, target = output[keep], target[keep].long()
        flags = target[:, None] == torch.arange(output.shape[1], device=target.device)
        flags = target[:, None] > 0 if output.shape[1] == 1 else flags
    return torch.cat([output, flags.to(output.dtype)], 1)


def _mean(rows: torch.Tensor, *, of_class: Callable[[torch.Tensor, torch.Tensor], float | None]) -> float | None:
    scores, flags = rows.chunk(2, 1)
    found = [of_class(*columns) for columns in zip(scores.T, flags.T > 0.5, strict=True)]
    figures = [figure for figure in found if figure is not None]
    return sum(figures) / len(figures) if figures else None


def _average_precision(scores: torch.Tensor, flags: torch.Tensor) -> float | None:
    hits, count = _count_above(scores, flags)
    if not len(hits) or hits[-1] == 0:
        return None
    gains = hits.diff(prepend=hits.new_zeros(1))
    return float((gains * hits / count).sum() / hits[-1])


def _area_under_roc(scores: torch.Tensor, flags: torch.Tensor) -> float | None:
    hits, count = _count_above(scores, flags)
    if not len(hits) or hits[-1] in (0, count[-1]):
        return None
    start = hits.new_zeros(1)
    heights, widths = torch.cat([start, hits]), (count - hits).diff(prepend=start)
    return float((widths * (heights[1:] + heights[:-1])).sum() / 2 / (hits[-1] * (count[-1] - hits[-1])))


def _count_above(scores: torch.Tensor, flags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each different score, the highest first, how many samples of the class, and of all, have it or a higher one.

    Samples with the same score are counted together: their order says nothing.
    """
    order = scores.argsort(descending=True)
    ordered = scores[order]
    ends = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(min(len(ordered), 1), dtype=torch.bool)])
    places = ends.nonzero()[:, 0]
    return flags[order].double().cumsum(0)[places], (places + 1).double()


METRICS = {"mean_average_precision": mean_average_precision, "auroc": auroc}
