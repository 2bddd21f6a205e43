"""How outputs and targets of class indices are prepared for their comparison by a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, NonNegativeFloat, WithJsonSchema
from torch.nn import functional

from rayrml.endings import Source, probabilities
from rayrml.errors import ConfigError, Problem

BALANCED = "balanced"


def _known_name(value: str) -> str:
    if value != BALANCED:
        raise ValueError(f'unknown weights "{value}". Expected a list with a number for each class, or "{BALANCED}"')
    return value


_Name = Annotated[str, AfterValidator(_known_name), WithJsonSchema({"const": BALANCED, "type": "string"})]
ClassWeights = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] | _Name | None
Smoothing = Annotated[float, Field(ge=0, lt=1)] | None

SMALLEST_PROBABILITY = 1e-12  # replaces smaller probabilities in a logarithm


def kept(target: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """Which labels count: a bool tensor of the target's shape."""
    return torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index


def members(output: torch.Tensor, target: torch.Tensor, ignore_index: int | None = None) -> torch.Tensor:
    """1 where the target (N, *spatial) is the channel's class and 0 elsewhere, in the output's shape and type.

    A single channel stands for class 1 of two. Ignored labels belong to no class.
    """
    counts = kept(target, ignore_index)
    classes = max(output.shape[1], 2)
    everyone = output.new_zeros((len(target), classes, *target.shape[1:]))
    everyone.scatter_(1, torch.where(counts, target, 0).unsqueeze(1), counts.unsqueeze(1).to(output.dtype))
    return everyone if output.shape[1] > 1 else everyone[:, 1:]


class LabelWeights:
    """How much each label counts in a mean: the weight of its class, or 0 if it is ignored.

    Weights that are "balanced" are not known yet: a plan replaces them by numbers before any loss is computed.
    """

    def __init__(self, weight: Sequence[float] | str | None, ignore_index: int | None):
        self.ignore_index = ignore_index
        self._given = weight is not None
        self._weight = None if weight is None or weight == BALANCED else torch.tensor(weight)
        self._moved: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    @property
    def trivial(self) -> bool:
        """Whether every label counts the same."""
        return not self._given and self.ignore_index is None

    def per_class(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor | None:
        """The class weights (C,), None if there are none."""
        if self._weight is None:
            if self._given:
                message = f"'{BALANCED}' stands for numbers that follow from training samples, which are not known here"
                raise ConfigError(Problem("neural_network.loss.weight", message))
            return None
        place = (device, dtype)
        if place not in self._moved:
            # Copied only once, because a copy to the GPU makes the CPU wait.
            self._moved[place] = self._weight.to(device, dtype)
        return self._moved[place]

    def per_label(self, target: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The weight of each label, in the target's shape."""
        counts = kept(target, self.ignore_index)
        weight = self.per_class(target.device, dtype)
        return counts.to(dtype) if weight is None else weight[torch.where(counts, target, 0)] * counts

    def total(self, target: torch.Tensor) -> torch.Tensor:
        """The total weight of all labels: the denominator of the mean."""
        return self.per_label(target).sum()


def count_weights(weight: ClassWeights) -> int | None:
    """How many classes the weights are for, None for any number."""
    return len(weight) if weight and weight != BALANCED else None


def mean(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """`total` divided by `count`, or 0 where `count` is 0."""
    return total / torch.where(count > 0, count, 1.0)


def log_truth(output: torch.Tensor, member: torch.Tensor, source: Source) -> torch.Tensor:
    """The log-probability that each channel by itself assigns to the truth (`members`), in the output's shape."""
    truth = member > 0
    if source == "logits":
        return functional.logsigmoid(torch.where(truth, output, -output))
    probability = probabilities(output, source)
    return torch.where(truth, probability, 1 - probability).clamp(min=SMALLEST_PROBABILITY).log()
