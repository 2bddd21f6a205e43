"""The workers of one run: who this process is among them, and what they sum and share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed

T = TypeVar("T")


class Pending(Protocol):
    """What is under way between workers."""

    def wait(self) -> Any:
        """Come back when it is done; on a GPU, when all that is computed from now on comes after it."""
        ...


@dataclasses.dataclass(frozen=True)
class Workers:
    """This process's place among the workers; with one worker nothing is communicated.

    Attributes:
        rank: number of this worker, from 0.
        size: number of workers.
    """

    rank: int = 0
    size: int = 1

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` with the sum over all workers put in its place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def start_sum(self, tensor: torch.Tensor) -> Pending:
        """Begin to put the sum over all workers in the place of `tensor`, which nobody may touch until that is done.

        All workers must begin their sums in the same order.
        """
        pending = torch.distributed.all_reduce(tensor, async_op=True) if self.size > 1 else None
        return _Done() if pending is None else pending

    def gather(self, value: Any) -> list[Any]:
        """Every worker's `value`, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def ask_first(self, question: Callable[[], T]) -> T:
        """The answer of the first worker to all of them; raises in all what it raises there."""
        if self.size == 1:
            return question()
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = question()
            except Exception as error:  # raised below, by all
                answer[1] = error
        torch.distributed.broadcast_object_list(answer)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def share(self, count: int) -> int:
        """How many of `count` samples are this worker's when they are dealt out in turn."""
        return count // self.size + (self.rank < count % self.size)

    def batch_sizes(self, num_samples: int, batch_size: int) -> list[int]:
        """This worker's part of each global batch of an epoch; parts of a batch differ by one at the most.

        Dealing samples out in turn makes the parts add up to every global batch exactly, the ragged last one too,
        and to each worker's share of all samples, whatever the three numbers are.
        """
        ends = [min(end, num_samples) for end in range(0, num_samples + batch_size, batch_size)]
        dealt = [self.share(end) for end in ends]
        return [after - before for before, after in itertools.pairwise(dealt)]

    def parts(self, used: np.ndarray, batch_size: int) -> list[int]:
        """This worker's part of each global batch of the samples that are `used` (n,), of those dealt out in turn.

        It is `batch_sizes` where all are used. Else parts of a batch can differ by more, but add up in the same way.
        """
        mine = np.flatnonzero(used) % self.size == self.rank
        return np.add.reduceat(mine, range(0, len(mine), batch_size), dtype=int).tolist() if len(mine) else []


class _Done:
    def wait(self) -> None:
        pass


def global_batch_sizes(num_samples: int, batch_size: int) -> list[int]:
    """Samples of each global batch of an epoch; the last one holds what is left over."""
    return Workers().batch_sizes(num_samples, batch_size)
