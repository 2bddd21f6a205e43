"""What a network's output numbers mean; losses and probabilities depend on it."""

from __future__ import annotations

from typing import Literal

import torch

Source = Literal["softmax", "log_softmax", "sigmoid", "logits"]  # as losses name it
Ending = Source | Literal["sigmoid_logits"]

Range = tuple[float, float]  # the lowest and the highest number
UNIT: Range = (0.0, 1.0)
SYMMETRIC: Range = (-1.0, 1.0)


def probabilities(output: torch.Tensor, ending: Ending) -> torch.Tensor:
    """The probabilities for an output (N, C, *spatial) with this ending, in the output's shape.

    `softmax` and `sigmoid` outputs are probabilities already, over all classes together or for each class by itself.
    `logits` still need an activation: softmax for several channels, sigmoid for a single one; `sigmoid_logits` need a
    sigmoid in any case.
    """
    if ending == "sigmoid_logits":
        return output.sigmoid()
    if ending == "log_softmax":
        return output.exp()
    if ending == "logits":
        return output.softmax(1) if output.shape[1] > 1 else output.sigmoid()
    return output
