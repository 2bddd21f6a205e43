"""What the numbers of an output mean: a network ends with it, a loss takes it, and probabilities are made of it."""

from __future__ import annotations

from typing import Literal

import torch

Ending = Literal["softmax", "log_softmax", "sigmoid", "logits"]


def probabilities(output: torch.Tensor, ending: Ending) -> torch.Tensor:
    """The probabilities, of the output's shape, that an output (N, C, *spatial) with this ending stands for.

    `softmax` and `sigmoid` give probabilities themselves, of all classes together or of each by itself. `logits` are
    what comes before an activation: the softmax of several channels, the sigmoid of a single one.
    """
    if ending == "log_softmax":
        return output.exp()
    if ending == "logits":
        return output.softmax(1) if output.shape[1] > 1 else output.sigmoid()
    return output
