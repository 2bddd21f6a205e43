"""What outputs and targets of class indices become before a loss compares the two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from rayrml.endings import Ending, probabilities

SMALLEST_PROBABILITY = 1e-12  # what a probability of 0 counts as in a logarithm


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
    """How much each label counts in a mean: the weight of its class, and nothing where it is to be ignored."""

    def __init__(self, weight: Sequence[float] | None, ignore_index: int | None):
        self.ignore_index = ignore_index
        self._weight = None if weight is None else torch.tensor(weight)
        self._moved: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    @property
    def trivial(self) -> bool:
        """Whether every label counts the same."""
        return self._weight is None and self.ignore_index is None

    def per_class(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor | None:
        """Weights (C,) of the classes, None if there are none."""
        if self._weight is None:
            return None
        place = (device, dtype)
        if place not in self._moved:
            # Once only: a copy to the GPU makes the CPU wait for it.
            self._moved[place] = self._weight.to(device, dtype)
        return self._moved[place]

    def per_label(self, target: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """What each label counts, in the target's shape."""
        counts = kept(target, self.ignore_index)
        weight = self.per_class(target.device, dtype)
        return counts.to(dtype) if weight is None else weight[torch.where(counts, target, 0)] * counts

    def total(self, target: torch.Tensor) -> torch.Tensor:
        """What all labels count together: the denominator of the mean."""
        return self.per_label(target).sum()


def mean(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """A total over what it counts, and 0 where nothing counts."""
    return total / torch.where(count > 0, count, 1.0)


def log_truth(output: torch.Tensor, member: torch.Tensor, source: Ending) -> torch.Tensor:
    """Log-probability that each channel by itself gives to the truth (`members`), in the output's shape."""
    truth = member > 0
    if source == "logits":
        return functional.logsigmoid(torch.where(truth, output, -output))
    probability = probabilities(output, source)
    return torch.where(truth, probability, 1 - probability).clamp(min=SMALLEST_PROBABILITY).log()
