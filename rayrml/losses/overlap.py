"""Losses that compare the region of a class in the output with its region in the target.

Each is a mean over samples and, within a sample, over the classes that occur in its target, so it depends neither on
the batch nor on the number of workers. With `weight`, that mean is weighted by class. An output of one channel is the
probability of class 1 of two; without `weight` the background is ignored, and a sample without class 1 counts like any
other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from pydantic import NonNegativeFloat

from rayrml.endings import Source, probabilities
from rayrml.errors import ConfigError, Problem
from rayrml.losses.loss import Loss
from rayrml.losses.outputs import ClassWeights, LabelWeights, count_weights, kept, mean, members

Regions = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dice(
    *,
    source: Source = "softmax",
    eps: NonNegativeFloat = 1e-7,
    smooth: NonNegativeFloat = 0.0,
    weight: ClassWeights = None,
    ignore_index: int | None = None,
) -> Loss:
    """1 - (2 |P T| + s) / (|P| + |T| + s) for the regions P of the output and T of the target; s is `smooth` + `eps`.

    Source: arXiv 1606.04797, section 3, with plain sums instead of squared ones.
    """
    regions = functools.partial(_dice, smooth=_positive(smooth + eps))
    return _loss(regions, "dice", source=source, weight=weight, ignore_index=ignore_index)


def jaccard(
    *,
    source: Source = "softmax",
    eps: NonNegativeFloat = 1e-7,
    smooth: NonNegativeFloat = 0.0,
    weight: ClassWeights = None,
    ignore_index: int | None = None,
) -> Loss:
    """1 - (|P T| + s) / (|P| + |T| - |P T| + s) for the output's region P and the target's T; s is `smooth` + `eps`.

    Source: Rahman & Wang, ISVC 2016, equation 3.
    """
    regions = functools.partial(_jaccard, smooth=_positive(smooth + eps))
    return _loss(regions, "jaccard", source=source, weight=weight, ignore_index=ignore_index)


def lovasz(*, source: Source = "softmax", ignore_index: int | None = None) -> Loss:
    """Lovasz extension of 1 - intersection over union, at the pixels' errors |P - T|.

    Source: arXiv 1705.08790, Algorithm 1.
    """
    return _loss(_lovasz, "jaccard", source=source, weight=None, ignore_index=ignore_index)


def _positive(smooth: float) -> float:
    if smooth == 0:
        message = "eps and smooth are both 0, which divides 0 by 0 where a class does not occur. Expected one above 0"
        raise ConfigError(Problem("neural_network.loss", message))
    return smooth


def _loss(function: Regions, metric: str, *, source: Source, weight: ClassWeights, ignore_index: int | None) -> Loss:
    weights = LabelWeights(weight, None)
    return Loss(
        functools.partial(
            _mean_over_classes, function=function, source=source, weights=weights, ignore_index=ignore_index
        ),
        targets="labels",
        metric=metric,
        binary=True,
        takes=source,
        num_classes=count_weights(weight),
        ignore_index=ignore_index,
    )


def _mean_over_classes(
    output: torch.Tensor,
    target: torch.Tensor,
    *,
    function: Regions,
    source: Source,
    weights: LabelWeights,
    ignore_index: int | None,
) -> torch.Tensor:
    region, truth = probabilities(output, source), members(output, target, ignore_index)
    counts = kept(target, ignore_index).unsqueeze(1)
    weight = weights.per_class(output.device, output.dtype)
    if output.shape[1] == 1 and weight is not None:
        # With a weight for each class, the background counts, too.
        region, truth = torch.cat([1 - region, region], 1), torch.cat([counts.to(truth.dtype) - truth, truth], 1)
    losses = function(_flat(region * counts), _flat(truth))  # (N, C)
    if losses.shape[1] == 1:
        return losses.mean()
    present = _flat(truth).amax(2)  # (N, C)
    if weight is None:
        return ((losses * present).sum(1) / present.sum(1).clamp(min=1)).mean()
    return mean((losses * present * weight).sum(1), (present * weight).sum(1)).mean()


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
