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
from rayrml.losses.outputs import (
    SMALLEST_PROBABILITY,
    ClassWeights,
    LabelWeights,
    Smoothing,
    count_weights,
    kept,
    log_truth,
    mean,
    members,
)


def nll(
    *,
    source: Source = "log_softmax",
    weight: ClassWeights = None,
    ignore_index: int | None = None,
    label_smoothing: Smoothing = None,
) -> Loss:
    """Negative log-likelihood of the true class, given an output (N, C) or (N, C, *spatial) that ends with `source`.

    The mean is weighted by the `weight` of the true class; labels equal to `ignore_index` do not count. A single
    channel that ends with `sigmoid` is class 1 of two. With `label_smoothing` s, the true class counts 1 - s, and each
    of the C classes s / C times its own weight. Source: arXiv 1512.00567, section 7; weights as in PyTorch.
    """
    return _likelihood(source, weight, ignore_index, label_smoothing)


def cross_entropy(
    *,
    source: Source = "logits",
    weight: ClassWeights = None,
    ignore_index: int | None = None,
    label_smoothing: Smoothing = None,
) -> Loss:
    """Negative log-likelihood of the true class, as NLL, given logits by default.

    Without `weight` and `ignore_index`, targets may also be shares of the classes (N, C), as for mixed samples.
    """
    loss = _likelihood(source, weight, ignore_index, label_smoothing)
    return dataclasses.replace(loss, accepts_shares=source == "logits" and loss.weight is None)


def focal(
    *,
    source: Source = "softmax",
    gamma: NonNegativeFloat = 2.0,
    weight: ClassWeights = None,
    ignore_index: int | None = None,
    label_smoothing: Smoothing = None,
) -> Loss:
    """Cross entropy times (1 - p) ** gamma for a true class of probability p. Source: arXiv 1708.02002, equation 5.

    The mean is weighted by the `weight` of the true class, the paper's alpha. With a `sigmoid` over several channels,
    each channel is a binary problem, and their losses are summed. With `label_smoothing` s, the true class counts
    1 - s, and each of the C classes s / C; a binary problem has two.
    """
    weights = LabelWeights(weight, ignore_index)
    return Loss(
        functools.partial(_focal, source=source, gamma=gamma, weights=weights, smoothing=label_smoothing),
        targets="labels",
        metric="accuracy",
        weight=None if weights.trivial else weights.total,
        binary=True,
        takes=source,
        num_classes=count_weights(weight),
        ignore_index=ignore_index,
    )


def _likelihood(source: Source, weight: ClassWeights, ignore_index: int | None, smoothing: float | None) -> Loss:
    weights = LabelWeights(weight, ignore_index)
    functions = {"logits": functional.cross_entropy, "log_softmax": _nll_of_logs}
    function = functions.get(source, _nll)
    if smoothing:
        function = functools.partial(function, label_smoothing=smoothing)
    return Loss(
        function if weights.trivial else functools.partial(_weighted, function=function, weights=weights),
        targets="labels",
        metric="accuracy",
        takes=source,
        binary=source == "sigmoid",
        weight=None if weights.trivial else weights.total,
        num_classes=count_weights(weight),
        ignore_index=ignore_index,
    )


def _nll(output: torch.Tensor, target: torch.Tensor, **settings: Any) -> torch.Tensor:
    """`nll_loss` for probabilities; a single channel is that of class 1."""
    if output.shape[1] == 1:
        output = torch.cat([1 - output, output], 1)
    return _nll_of_logs(output.clamp(min=SMALLEST_PROBABILITY).log(), target, **settings)


def _nll_of_logs(
    logs: torch.Tensor, target: torch.Tensor, *, label_smoothing: float | None = None, **settings: Any
) -> torch.Tensor:
    """`nll_loss` with the label smoothing of `cross_entropy`, which would normalize the probabilities once more."""
    loss = functional.nll_loss(logs, target, **settings)
    if not label_smoothing:
        return loss
    others = _mean_over_all_classes(logs, target, **settings)
    return (1 - label_smoothing) * loss + label_smoothing * others


def _mean_over_all_classes(
    logs: torch.Tensor,
    target: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:
    """Negative log-probabilities of all classes, weighted and averaged, of the labels that `nll_loss` counts."""
    if weight is not None:
        logs = logs * weight.view(-1, *[1] * (logs.ndim - 2))
    counts = kept(target, ignore_index)
    total = torch.where(counts, -logs.mean(1), 0.0).sum()
    return total / counts.sum() if reduction == "mean" else total


def _weighted(
    output: torch.Tensor, target: torch.Tensor, *, function: Callable[..., torch.Tensor], weights: LabelWeights
) -> torch.Tensor:
    per_class = weights.per_class(output.device, output.dtype)
    ignored = {} if weights.ignore_index is None else {"ignore_index": weights.ignore_index}
    total = function(output, target, weight=per_class, reduction="sum", **ignored)
    return mean(total, weights.per_label(target, output.dtype).sum())


def _focal(
    output: torch.Tensor,
    target: torch.Tensor,
    *,
    source: Source,
    gamma: float,
    weights: LabelWeights,
    smoothing: float | None,
) -> torch.Tensor:
    member = members(output, target, weights.ignore_index)
    if output.shape[1] == 1 or source == "sigmoid":
        per_label = _modulated(log_truth(output, member, source), gamma).sum(1)
        if smoothing:
            opposite = _modulated(log_truth(output, 1 - member, source), gamma).sum(1)
            per_label = (1 - smoothing / 2) * per_label + smoothing / 2 * opposite
    else:
        logs = _log_probabilities(output, source)
        log_p = torch.where(member > 0, logs, 0.0).sum(1, keepdim=True)
        per_label = _modulated(log_p, gamma).sum(1)
        if smoothing:
            per_label = (1 - smoothing) * per_label + smoothing * _modulated(logs, gamma).mean(1)
    counts = weights.per_label(target, output.dtype)
    return mean((per_label * counts).sum(), counts.sum())


def _modulated(log_p: torch.Tensor, gamma: float) -> torch.Tensor:
    """-(1 - p) ** gamma * log(p), in the shape of log(p)."""
    # At p = 1 the slope of the power may be infinite, and times 0 that would be NaN.
    doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
    return -(doubt**gamma) * log_p


def _log_probabilities(output: torch.Tensor, source: Source) -> torch.Tensor:
    """The log-probability of each class (N, C, *spatial), for probabilities that sum to 1."""
    if source == "logits":
        return output.log_softmax(1)
    return output.clamp(min=SMALLEST_PROBABILITY).log() if source == "softmax" else output


LOSSES = {"NLL": nll, "CrossEntropy": cross_entropy, "Focal": focal}
