"""The figures of training steps, collected and sent a few times a second."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from rayrml.config.figures import TRAIN_LOSS
from rayrml.errors import DivergenceError
from rayrml.memory import own_memory
from rayrml.reporting.messages import BatchesTrained, BatchRow, Emit
from rayrml.training.step import Trained

_SECONDS_BETWEEN_REPORTS = 0.25
_MOST_SKIPPED = 30  # steps in a row; halving the loss scale so often makes any finite gradient fit


class Reporter:
    """Collects one worker's steps and sends them a few times a second.

    Losses stay on the device until then: reading one makes the CPU wait for the GPU.

    Attributes:
        losses: of the epoch's batches that were sent, each with what its mean divides by, and its terms.
        rate: the learning rate.
    """

    def __init__(self, emit: Emit, terms: Sequence[str], seconds: float = 0.0, *, shows_terms: bool = False):
        """Start the clock at `seconds` of training; `terms` are the names of those of the loss, which rows may show."""
        self._emit = emit
        self._names = terms
        self._shows_terms = shows_terms
        self._started = time.perf_counter() - seconds
        self._sent = 0.0
        self._epoch_began = 0.0
        self.losses: list[tuple[float, ...]] = []
        self.rate = 0.0
        self._steps: list[tuple[int, int, float, Trained, float]] = []
        self._sizes: list[int] = []
        self._skipped = 0  # steps in a row that loss scaling has skipped

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return time.perf_counter() - self._started

    def begin_epoch(self, rate: float, losses: Sequence[tuple[float, ...]] = ()) -> None:
        """Begin an epoch with learning rate `rate`; `losses` are those of its batches that are done already."""
        self.rate = rate
        self.losses = list(losses)
        self._epoch_began = self.seconds

    def add(self, epoch: int, batch: int, trained: Trained, waited: float, *, num_samples: int) -> None:
        """Add a step that `waited` so many seconds for its global batch of `num_samples`."""
        seconds = self.seconds
        self._sizes.append(num_samples)
        self._steps.append((epoch, batch, seconds, trained, waited))
        if seconds - self._sent >= _SECONDS_BETWEEN_REPORTS:
            self.flush()
            self._sent = seconds

    def flush(self) -> None:
        """Send the collected steps.

        Raises:
            DivergenceError: a loss is not finite, or with loss scaling those of many steps in a row.
        """
        if not self._steps:
            return
        trained = [step[3] for step in self._steps]
        norms = torch.linalg.vector_norm(torch.stack([t.lengths for t in trained]), dim=1)
        figures = [torch.stack([t.loss for t in trained]), norms]
        weights = [t.weight for t in trained if t.weight is not None]
        if weights:  # of all steps or of none: the loss decides
            figures.append(torch.stack(weights))
        values = torch.stack(figures).T.tolist()
        terms = [t.terms for t in trained if t.terms is not None]
        parts = [tuple(part) for part in torch.stack(terms).tolist()] if terms else [()] * len(trained)
        rows = [
            BatchRow(
                epoch,
                batch,
                seconds,
                loss,
                norm,
                waited,
                t.compute_seconds,
                t.reduce_seconds,
                size,
                part if self._shows_terms else (),
            )
            for (epoch, batch, seconds, t, waited), size, (loss, norm, *_), part in zip(
                self._steps, self._sizes, values, parts, strict=True
            )
        ]
        counts = [row[2] for row in values] if weights else self._sizes
        flags = [t.skipped for t in trained if t.skipped is not None]
        skipped = torch.stack(flags).tolist() if flags else [0.0] * len(rows)
        # A skipped step without a loss has no part in the epoch's mean.
        self.losses += [
            (row.loss, count, *of_row)
            for row, count, skip, of_row in zip(rows, counts, skipped, parts, strict=True)
            if not skip or math.isfinite(row.loss)
        ]
        self._steps.clear()
        self._sizes.clear()
        gpu_bytes = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
        self._emit(BatchesTrained(rows, gpu_bytes, own_memory(), self.rate))
        self._refuse_divergence(rows, skipped)

    def _refuse_divergence(self, rows: Sequence[BatchRow], skipped: Sequence[float]) -> None:
        for row, skip in zip(rows, skipped, strict=True):
            self._skipped = self._skipped + 1 if skip else 0
            if self._skipped >= _MOST_SKIPPED:
                what = f"the loss or its gradient is not finite in {self._skipped} steps in a row, at last"
            elif not skip and not math.isfinite(row.loss):
                what = f"the loss is {row.loss}"
            else:
                continue
            raise DivergenceError(
                f"{what} in epoch {row.epoch}, batch {row.batch}, at a learning rate of {self.rate:g}. "
                "A smaller learning_rate or gradient_clip may help"
            )

    def finish_epoch(self) -> dict[str, float]:
        """The epoch's seconds, and the means of its loss and of its terms, of each batch before the update from it.

        The mean weights batches as the loss weights samples: by their number, or by what else its mean divides by. It
        is NaN if loss scaling has skipped all of them. Terms are means over the steps that had them, and are left
        out if there were no such steps.
        """
        self.flush()
        seconds = self.seconds - self._epoch_began
        counts = [count for _, count, *_ in self.losses]
        columns = zip(*((loss, *terms) for loss, _, *terms in self.losses), strict=True)
        first, *others = [*columns] or [()] * (1 + len(self._names))
        means = {TRAIN_LOSS: _mean(first, counts)}
        for name, term in zip(self._names, others, strict=True):
            known = _known(term, counts)
            if known[0] or not term:
                means[name] = _mean(*known)
        return {**means, "seconds": seconds}


def _mean(values: Sequence[float], counts: Sequence[float]) -> float:
    """The mean of values that count so much each; NaN without any."""
    if not values:
        return math.nan
    return sum(value * count for value, count in zip(values, counts, strict=True)) / (sum(counts) or 1.0)


def _known(values: Sequence[float], counts: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """The values that are known, and how much each counts: not every step has all terms."""
    known = [(value, count) for value, count in zip(values, counts, strict=True) if not math.isnan(value)]
    return [value for value, _ in known], [count for _, count in known]
