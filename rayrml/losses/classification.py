"""Losses for targets with one true class per sample or pixel."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch.nn import functional

from rayrml.endings import Source
from rayrml.losses.loss import Loss
from rayrml.losses.outputs import SMALLEST_PROBABILITY, ClassWeights, LabelWeights, log_truth, mean, members


def nll(*, source: Source = "log_softmax", weight: ClassWeights = None, ignore_index: int | None = None) -> Loss:
    """Negative log-likelihood of the true class, given an output (N, C) or (N, C, *spatial) that ends with `source`.

    The mean is weighted by the `weight` of the true class; labels equal to `ignore_index` do not count. A single
    channel that ends with `sigmoid` is class 1 of two.
    """
    return _likelihood(source, weight, ignore_index)


def cross_entropy(*, source: Source = "logits", weight: ClassWeights = None, ignore_index: int | None = None) -> Loss:
    """Negative log-likelihood of the true class, as NLL, given logits by default.

    Without `weight` and `ignore_index`, targets may also be shares of the classes (N, C), as for mixed samples.
    """
    loss = _likelihood(source, weight, ignore_index)
    return dataclasses.replace(loss, accepts_shares=source == "logits" and loss.weight is None)


def focal(
    *,
    source: Source = "softmax",
    gamma: NonNegativeFloat = 2.0,
    weight: ClassWeights = None,
    ignore_index: int | None = None,
) -> Loss:
    """Cross entropy times (1 - p) ** gamma for a true class of probability p. Source: arXiv 1708.02002, equation 5.

    The mean is weighted by the `weight` of the true class, the paper's alpha. With a `sigmoid` over several channels,
    each channel is a binary problem, and their losses are summed.
    """
    weights = LabelWeights(weight, ignore_index)
    return Loss(
        functools.partial(_focal, source=source, gamma=gamma, weights=weights),
        targets="labels",
        metric="accuracy",
        weight=None if weights.trivial else weights.total,
        binary=True,
        takes=source,
        num_classes=len(weight) if weight else None,
        ignore_index=ignore_index,
    )


def _likelihood(source: Source, weight: ClassWeights, ignore_index: int | None) -> Loss:
    weights = LabelWeights(weight, ignore_index)
    functions = {"logits": functional.cross_entropy, "log_softmax": functional.nll_loss}
    function = functions.get(source, _nll)
    return Loss(
        function if weights.trivial else functools.partial(_weighted, function=function, weights=weights),
        targets="labels",
        metric="accuracy",
        takes=source,
        binary=source == "sigmoid",
        weight=None if weights.trivial else weights.total,
        num_classes=len(weight) if weight else None,
        ignore_index=ignore_index,
    )


def _nll(output: torch.Tensor, target: torch.Tensor, **settings: Any) -> torch.Tensor:
    """`nll_loss` for probabilities; a single channel is that of class 1."""
    if output.shape[1] == 1:
        output = torch.cat([1 - output, output], 1)
    return functional.nll_loss(output.clamp(min=SMALLEST_PROBABILITY).log(), target, **settings)


def _weighted(
    output: torch.Tensor, target: torch.Tensor, *, function: Callable[..., torch.Tensor], weights: LabelWeights
) -> torch.Tensor:
    per_class = weights.per_class(output.device, output.dtype)
    ignored = {} if weights.ignore_index is None else {"ignore_index": weights.ignore_index}
    total = function(output, target, weight=per_class, reduction="sum", **ignored)
    return mean(total, weights.per_label(target, output.dtype).sum())


def _focal(
    output: torch.Tensor, target: torch.Tensor, *, source: Source, gamma: float, weights: LabelWeights
) -> torch.Tensor:
    log_p = _log_likelihood(output, target, source, weights.ignore_index)  # (N, 1 or C, *spatial)
    # At p = 1 the slope of the power may be infinite, and times 0 that would be NaN.
    doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
    per_label = (-(doubt**gamma) * log_p).sum(1)
    counts = weights.per_label(target, output.dtype)
    return mean((per_label * counts).sum(), counts.sum())


def _log_likelihood(
    output: torch.Tensor, target: torch.Tensor, source: Source, ignore_index: int | None
) -> torch.Tensor:
    member = members(output, target, ignore_index)
    if output.shape[1] == 1 or source == "sigmoid":
        return log_truth(output, member, source)
    if source == "logits":
        output = output.log_softmax(1)
    elif source == "softmax":
        output = output.clamp(min=SMALLEST_PROBABILITY).log()
    return torch.where(member > 0, output, 0.0).sum(1, keepdim=True)


LOSSES = {"NLL": nll, "CrossEntropy": cross_entropy, "Focal": focal}
