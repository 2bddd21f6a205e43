"""Passes over samples whose outputs belong to one of them each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from rayrml.data.shards import Batch

Prepared = tuple[torch.Tensor, Any, Batch]  # inputs and targets as an evaluator takes them, and the batch before that


class EachSample:
    """An evaluator that computes the outputs for each batch by itself."""

    def __call__(self, batch: torch.Tensor, target: Any, original: Batch) -> Any:
        """The outputs for a batch."""
        raise NotImplementedError

    def run(self, batches: Iterable[Prepared]) -> Iterator[tuple[np.ndarray, Any]]:
        """The numbers (n,) of the samples in each batch, and the outputs for them; None for a part without samples."""
        for inputs, target, original in batches:
            yield original.positions, self(inputs, target, original) if len(original.positions) else None
