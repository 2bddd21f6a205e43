"""Losses that compare the region of a class in the output with its region in the target.

Each is a mean over samples and, within a sample, over the classes that occur in its target, so it depends neither on
the batch nor on the number of workers. An output of one channel is the probability of class 1 of two; the background
is ignored, and a sample without class 1 counts like any other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from pydantic import PositiveFloat

from rayrml.endings import Ending, probabilities
from rayrml.losses.loss import Loss
from rayrml.losses.outputs import kept, members

Regions = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dice(*, source: Ending = "softmax", smooth: PositiveFloat = 1.0, ignore_index: int | None = None) -> Loss:
    """1 - (2 |P T| + smooth) / (|P| + |T| + smooth) for the regions P of the output and T of the target.

    Source: arXiv 1606.04797, section 3, with plain sums instead of squared ones.
    """
    return _loss(functools.partial(_dice, smooth=smooth), "dice", source, ignore_index)


def jaccard(*, source: Ending = "softmax", smooth: PositiveFloat = 1.0, ignore_index: int | None = None) -> Loss:
    """1 - (|P T| + smooth) / (|P| + |T| - |P T| + smooth) for the regions P of the output and T of the target.

    Source: Rahman & Wang, ISVC 2016, equation 3.
    """
    return _loss(functools.partial(_jaccard, smooth=smooth), "jaccard", source, ignore_index)


def lovasz(*, source: Ending = "softmax", ignore_index: int | None = None) -> Loss:
    """Lovasz extension of 1 - intersection over union, at the pixels' errors |P - T|.

    Source: arXiv 1705.08790, Algorithm 1.
    """
    return _loss(_lovasz, "jaccard", source, ignore_index)


def _loss(function: Regions, metric: str, source: Ending, ignore_index: int | None) -> Loss:
    return Loss(
        functools.partial(_mean_over_classes, function=function, source=source, ignore_index=ignore_index),
        targets="labels",
        metric=metric,
        binary=True,
        takes=source,
        ignore_index=ignore_index,
    )


def _mean_over_classes(
    output: torch.Tensor, target: torch.Tensor, *, function: Regions, source: Ending, ignore_index: int | None
) -> torch.Tensor:
    region = probabilities(output, source) * kept(target, ignore_index).unsqueeze(1)
    truth = members(output, target, ignore_index)
    losses = function(_flat(region), _flat(truth))  # (N, C)
    if output.shape[1] == 1:
        return losses.mean()
    present = _flat(truth).amax(2)  # (N, C)
    return ((losses * present).sum(1) / present.sum(1).clamp(min=1)).mean()


def _flat(regions: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) as (N, C, pixels)."""
    return regions.reshape(*regions.shape[:2], -1)


def _dice(region: torch.Tensor, truth: torch.Tensor, smooth: float) -> torch.Tensor:
    common = (region * truth).sum(2)
    return 1 - (2 * common + smooth) / (region.sum(2) + truth.sum(2) + smooth)


def _jaccard(region: torch.Tensor, truth: torch.Tensor, smooth: float) -> torch.Tensor:
    common = (region * truth).sum(2)
    return 1 - (common + smooth) / (region.sum(2) + truth.sum(2) - common + smooth)


def _lovasz(region: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    errors, order = (region - truth).abs().sort(2, descending=True)
    hits = truth.gather(2, order)
    count = hits.sum(2, keepdim=True)
    union = count + (1 - hits).cumsum(2)
    # The set function at the first i pixels is 1 - intersection / union; its steps are the extension's gradient.
    steps = 1 - (count - hits.cumsum(2)) / union
    steps = torch.cat([steps[..., :1], steps.diff(dim=2)], 2)
    return (errors * steps).sum(2)


LOSSES = {"Dice": dice, "Jaccard": jaccard, "Lovasz": lovasz}
