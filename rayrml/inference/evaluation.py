"""Evaluation of one batch: the network's output, its loss and its metric."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rayrml.inference import arithmetic
from rayrml.inference.each_sample import EachSample
from rayrml.inference.flips import FlipAverage
from rayrml.losses import Loss
from rayrml.metrics import METRICS, ClassCounts, ColumnDetails, ColumnSums, Details, Evaluation, Metric, Pairs
from rayrml.metrics.columns import Kind
from rayrml.metrics.metric import LIKELY
from rayrml.tensors import to_input
from rayrml.workers import Workers


def as_target(target: Any, loss: Loss) -> Any:
    """Targets as the loss takes them: arrays (N, 1, *spatial) of class numbers become indices (N, *spatial) int64.

    Class shares (N, C) and boxes stay unchanged.
    """
    if loss.targets == "boxes":
        return target
    shares = loss.accepts_shares and target.ndim == 2 and target.shape[1] > 1
    if loss.targets == "labels" and target.is_floating_point() and not shares:
        target = target.squeeze(1) if target.ndim > 1 and target.shape[1] == 1 else target
        return target.round().long()
    return target


def metric_of(loss: Loss, wanted: str | None = None) -> Metric | None:
    """The metric that evaluation reports next to the loss: the requested one or the loss's default, if any."""
    name = wanted or loss.metric
    return None if name is None else METRICS[name](ignore_index=loss.ignore_index)


class EvaluationStep(EachSample):
    """Loss and metric of batches, added up over an epoch and over workers.

    Args:
        network: computes the outputs.
        loss: compares them with targets, and may prescribe some of their values; None without one.
        metric: the metric, None for none.
        workers: the workers that share the samples.
        autocast: see `arithmetic.autocast`.
        pixels: whether masks have figures of each class, too.
        columns: what the columns of a table's targets are, None if targets are no such columns.
        threshold: probability above which a sample has a class, where it may have several.
        flips: averages outputs over flips, None for the outputs of the samples as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | None,
        metric: Metric | None,
        *,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        autocast: torch.dtype | None = None,
        pixels: bool = False,
        columns: Kind | None = None,
        threshold: float = LIKELY,
        flips: FlipAverage | None = None,
    ):
        self.network = network
        self.loss = loss
        self.metric = metric
        self.workers = workers
        self.dtype = autocast
        self.flips = flips
        self._kind: Kind | None = columns
        self._shift = LIKELY - threshold  # what metrics compare with 0.5 is compared with the threshold
        self._counts_pixels = pixels and metric is not None and metric.compares != "values"
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._loss: torch.Tensor | float = 0.0
        self._weight: torch.Tensor | float = 0.0
        self._sums: torch.Tensor | None = None
        self._rows: list[torch.Tensor] = []
        ignored = None if self.loss is None else self.loss.ignore_index
        self._pairs = Pairs(ignored, pixels=self._counts_pixels)
        self._columns = None if self._kind is None else ColumnSums(self._kind)

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, target: torch.Tensor | None, original: object = None) -> torch.Tensor:
        """The network's output (N, ...) for a batch, whose loss and metric are added to the totals.

        It has the values that the loss's problem prescribes, even without a target.
        """
        output = self._forward(batch) if self.flips is None else self.flips(self._forward, batch)
        if self.loss is not None:
            output = self.loss.imposed(output)
        if target is not None and self.loss is not None:
            self._add(self.loss, output, target)
        return output

    def written(self, outputs: torch.Tensor) -> np.ndarray:
        """The outputs (n, ...) as prediction files take them."""
        return outputs.cpu().numpy()

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        with arithmetic.autocast(batch, self.dtype):
            return self.network(to_input(batch)).float()

    def _add(self, loss: Loss, output: torch.Tensor, target: torch.Tensor) -> None:
        weight = loss.weight(target) if loss.weight else len(output)
        self._loss = self._loss + loss.of_imposed(output, target).double() * weight
        self._weight = self._weight + weight
        if self.metric is not None:
            scores = loss.scores(output)
            if self._shift and not self.metric.ranks:  # which would see ties where rounding makes equal scores
                scores = scores + self._shift
            sums = self.metric.sums(scores, target)
            if self.metric.ranks:
                self._rows.append(sums)
            else:
                add = self.metric.merge or torch.add
                self._sums = sums if self._sums is None else add(self._sums, sums)
            self._pairs.add(scores, target)
            if self._columns is not None:
                self._columns.add(scores + self._shift if self.metric.ranks else scores, target)

    def result(self, device: torch.device) -> Evaluation:
        """What was found in all samples of all workers; every worker must call it.

        Samples with one label each have figures of each class, and those with a table's columns figures of each column.
        """
        own_loss = torch.as_tensor([self._loss, self._weight], dtype=torch.float64, device=device)
        merge = None if self.metric is None else self.metric.merge
        own_sums = None if merge is not None else self._sums
        all_loss, totals, pairs = self._add_up([own_loss, own_sums, self._pairs.counts], device)
        loss, weight = all_loss.tolist()
        details = self._details(pairs)
        loss = loss / (weight or 1.0)
        if self.metric is None:
            return Evaluation(loss, details=details)
        if merge is not None:
            totals = self._merge_all(self._sums, merge)
        value = self.metric.value(self._gather_rows() if self.metric.ranks else totals)
        return Evaluation(loss, self.metric.name, value, details)

    def _details(self, pairs: torch.Tensor) -> Details | None:
        """What the figures of each class or column follow from; `pairs` are the counts of classes of all workers."""
        if self._columns is not None:
            columns = self._merge_all(self._columns.sums, self._columns.merge)
            if columns.numel():
                return ColumnDetails(columns.cpu().numpy(), self._columns.kind)
        if not pairs.numel():
            return None
        return ClassCounts(pairs.view(math.isqrt(pairs.numel()), -1).long().cpu().numpy())

    def _merge_all(
        self, own: torch.Tensor | None, merge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """This worker's sums merged with those of all others, in the same order in each; empty if nobody has any."""
        gathered = self.workers.gather(None if own is None else own.cpu().numpy())
        parts = [torch.from_numpy(sums) for sums in gathered if sums is not None]
        return functools.reduce(merge, parts) if parts else torch.empty(0)

    def _gather_rows(self) -> torch.Tensor:
        """The rows of all workers; their order says nothing."""
        own = torch.cat(self._rows).cpu().numpy() if self._rows else None
        parts = [torch.from_numpy(rows) for rows in self.workers.gather(own) if rows is not None]
        return torch.cat(parts) if parts else torch.empty(0, 2)

    def _add_up(self, own: Sequence[torch.Tensor | None], device: torch.device) -> Sequence[torch.Tensor]:
        """This worker's rows of sums (n,), each added to the same row of the other workers, all in one exchange.

        A worker without samples has None, and learns the row's length from the others; if all have None, it is empty.
        """
        own_lengths = [0 if sums is None else sums.numel() for sums in own]
        lengths = [max(of_one_kind) for of_one_kind in zip(*self.workers.gather(own_lengths), strict=True)]
        rows = [
            torch.zeros(length, dtype=torch.float64, device=device) if sums is None else sums
            for sums, length in zip(own, lengths, strict=True)
        ]
        return self.workers.sum(torch.cat(rows)).split(lengths)
