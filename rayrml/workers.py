"""The workers of one run: the rank of this process, and what the workers sum and share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed

T = TypeVar("T")


class Pending(Protocol):
    """Communication between workers that is in progress."""

    def wait(self) -> Any:
        """Return when it is done; on a GPU, when everything computed from now on is ordered after it."""
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
        """`tensor`, overwritten with the sum over all workers."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def start_sum(self, tensor: torch.Tensor) -> Pending:
        """Start overwriting `tensor` with the sum over all workers; it must not be used until that is done.

        All workers must start their sums in the same order.
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

    def exchange(self, rows: torch.Tensor, sent: Sequence[int], received: Sequence[int]) -> torch.Tensor:
        """The rows that come from the workers, those of the first one first.

        Args:
            rows: (n, ...) this worker's rows, those for the first worker first; of one shape and type in all workers.
            sent: how many of them go to each worker.
            received: how many come from each worker.
        """
        if self.size == 1:
            return rows
        arrived = torch.empty((sum(received), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        torch.distributed.all_to_all_single(arrived, rows.contiguous(), list(received), list(sent))
        return arrived

    def gather_in_first(self, value: T) -> list[T] | None:
        """Every worker's `value` by rank, in the first worker; None in the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        torch.distributed.gather_object(value, values)
        return values

    def broadcast(self, tensor: torch.Tensor, source: int) -> None:
        """Overwrite `tensor` in all workers with that of the worker `source`."""
        if self.size > 1:
            torch.distributed.broadcast(tensor, source)

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
        """How many of `count` samples this worker gets when they are dealt out in turn."""
        return count // self.size + (self.rank < count % self.size)

    def batch_sizes(self, num_samples: int, batch_size: int) -> list[int]:
        """This worker's part of each global batch of an epoch; the parts of a batch differ by at most one.

        Dealing samples out in turn makes the parts add up to every global batch exactly, including a smaller last one,
        and to each worker's share of all samples, whatever the three numbers are.
        """
        ends = [min(end, num_samples) for end in range(0, num_samples + batch_size, batch_size)]
        dealt = [self.share(end) for end in ends]
        return [after - before for before, after in itertools.pairwise(dealt)]

    def keeps(self, places: np.ndarray) -> np.ndarray:
        """(n,) which of the samples at these `places` (n,) in batches this worker keeps: they are dealt out in turn."""
        return places % self.size == self.rank

    def count_own(self, mine: np.ndarray, batch_size: int) -> list[int]:
        """How many samples of each global batch are this worker's, if those that are `mine` (n,) of all samples are."""
        return np.add.reduceat(mine, range(0, len(mine), batch_size), dtype=int).tolist() if len(mine) else []


class _Done:
    def wait(self) -> None:
        pass


def global_batch_sizes(num_samples: int, batch_size: int) -> list[int]:
    """The size of each global batch of an epoch; the last one holds the remainder."""
    return Workers().batch_sizes(num_samples, batch_size)
