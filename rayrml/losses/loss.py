"""What a row of the loss table builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A mean loss over a batch, and what it needs to know of targets.

    Attributes:
        function: (output (N, C, *spatial), target) -> the mean loss, a scalar.
        targets: `labels`: class indices (N,) or (N, *spatial); `arrays`: tensors of the output's shape.
        metric: the row of the metrics table that evaluation reports beside the loss.
        weight: target -> what the mean divides by, where that is not the number of samples. Workers weigh their
            parts of a global batch with it, so that the mean is that of the whole batch.
    """

    function: Function
    targets: Literal["labels", "arrays"]
    metric: str
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of the batch."""
        return self.function(output, target)
