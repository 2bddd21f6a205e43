"""The mean of a network's outputs over flips of its inputs, for evaluation and prediction."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch.nn import functional as F

from rayrml.endings import Ending
from rayrml.losses import Loss
from rayrml.networks.ending import find_ending
from rayrml.networks.graph import Graph

Flips = Literal["horizontal_flip", "flips"]


@dataclasses.dataclass(frozen=True)
class FlipAverage:
    """Makes outputs that are the mean over a sample and its flips; those with positions are flipped back before.

    Of outputs that represent classes, the probabilities are averaged, whatever the form in which the network gives
    them, and the result has that form again: logits become logits of the mean probabilities. So loss, metrics and
    predictions follow from the same numbers. Other outputs are averaged as they are.

    Attributes:
        flips: every combination of flips of the spatial axes, or one of the last axis alone.
        ending: what outputs are, None if they do not represent classes.
    """

    flips: Flips
    ending: Ending | None = None

    def __call__(self, forward: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
        """The mean output (N, ...) of `forward` for a batch (N, C, *spatial)."""
        outputs = (self._flipped(forward, batch, axes) for axes in list_flips(self.flips, batch.ndim - 2))
        first = next(outputs)
        if self.ending == "sigmoid_logits" or (self.ending == "logits" and first.shape[1] == 1):
            # Logarithms of both probabilities: where one of them is almost 1, only the other one is exact.
            true, false = _mean_of_logarithms(_both(first), outputs, _both)
            return true - false
        if self.ending in ("logits", "log_softmax"):
            (mean,) = _mean_of_logarithms([first.log_softmax(1)], outputs, lambda output: [output.log_softmax(1)])
            return mean
        count = 1
        for output in outputs:
            first, count = first + output, count + 1
        return first / count

    @staticmethod
    def _flipped(
        forward: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor, axes: tuple[int, ...]
    ) -> torch.Tensor:
        """The output for the flipped batch, flipped back if it has positions."""
        output = forward(batch.flip(axes) if axes else batch)
        return output.flip(axes) if axes and output.ndim > 2 else output


def flips_of(wanted: str, loss: Loss | None, graph: Graph) -> FlipAverage | None:
    """What averages outputs as `data.test_transforms` says, None if nothing does.

    What outputs are is what the loss takes them for; without a loss, what the network's last layer makes of them.
    """
    if wanted not in ("flips", "horizontal_flip"):
        return None
    if loss is not None:
        return FlipAverage(wanted, loss.takes)
    ending = find_ending(graph)
    return FlipAverage(wanted, None if ending == "linear" else ending)


def list_flips(flips: Flips, num_axes: int) -> Iterator[tuple[int, ...]]:
    """The axes, counted from the end, of each flip of samples with this number of spatial axes; first none."""
    axes = range(-1, -1 - (min(num_axes, 1) if flips == "horizontal_flip" else num_axes), -1)
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)


def _both(output: torch.Tensor) -> list[torch.Tensor]:
    return [F.logsigmoid(output), F.logsigmoid(-output)]


def _mean_of_logarithms(
    totals: list[torch.Tensor],
    outputs: Iterator[torch.Tensor],
    logarithms: Callable[[torch.Tensor], list[torch.Tensor]],
) -> list[torch.Tensor]:
    """The logarithms of the means of some probabilities, given the logarithms of the first ones and further outputs."""
    count = 1
    for output in outputs:
        totals = [torch.logaddexp(total, part) for total, part in zip(totals, logarithms(output), strict=True)]
        count += 1
    return [total - math.log(count) for total in totals]
