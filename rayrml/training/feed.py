"""A worker's batches of a set of samples, in each of which all samples have one shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from rayrml.data.bad_samples import gather_bad_samples, merge_bad_samples
from rayrml.data.draws import mix_seed
from rayrml.data.places import deal_places, in_rounds
from rayrml.data.sampling import Balanced
from rayrml.data.shards import Batch, Shard, boxes_of, move, to_numbers
from rayrml.data.sources import Source
from rayrml.reporting.messages import Emit, Skipped
from rayrml.workers import Workers, global_batch_sizes

T = TypeVar("T")


class GlobalBatch(NamedTuple):
    """A batch of all workers.

    Attributes:
        own: this worker's part of it.
        size: samples in all parts.
        begin: samples that were dealt out to the workers, in turn, before this batch.
        number: which batch of the epoch it is, from 1.
    """

    own: Batch
    size: int
    begin: int
    number: int


@dataclasses.dataclass(frozen=True)
class Part:
    """Samples of one shape, and this worker's batches of them.

    Attributes:
        source: the samples, and possibly others.
        shard: this worker's share of them.
        device: the device that computes.
        workers: the workers that share the samples.
        used: (n,) which of the samples of this shape are used, in the order in which they are dealt out.
        kept: whether each worker keeps samples, which have a place in batches; else it may read any of them.
        passed: reports the bad samples of each pass; None if they are all known already.
        balanced: what an epoch consists of instead of each sample once; None if it does not.
    """

    source: Source
    shard: Shard
    device: torch.device
    workers: Workers
    used: np.ndarray
    kept: bool = False
    passed: Passed | None = None
    balanced: Balanced | None = None

    def num_batches(self, batch_size: int) -> int:
        """The number of batches in a pass."""
        return len(global_batch_sizes(int(self.used.sum()), batch_size))

    def counted_batches(self, batch_size: int, epoch: int | None, done: int = 0) -> Iterator[GlobalBatch]:
        """Each batch except the first `done`, numbered among those of this part."""
        sizes = global_batch_sizes(int(self.used.sum()), batch_size)[done:]
        batches = zip(self.batches(batch_size, epoch, done), sizes, strict=True)
        for number, (batch, size) in enumerate(batches, done + 1):
            count = size
            if self.passed is not None:
                count = int(self.workers.sum(torch.tensor([len(batch.positions)], device=self.device)).item())
            yield GlobalBatch(batch, count, 0 if self.kept else (number - 1) * batch_size, number)

    def batches(self, batch_size: int, epoch: int | None, done: int = 0) -> Iterator[Batch]:
        """This worker's part of each global batch except the first `done`, on the device that computes.

        They are in the order of `epoch`, or in the samples' own order if it is None. Pixels stay bytes, all other
        arrays become float32.

        Raises:
            DataError: more than half of the pass's samples were bad; raised in all workers at once.
        """
        source = self.source
        pixels = source.target is not None and source.target.pixels
        parts = self._sizes(batch_size, epoch)
        for batch in self.shard.batches(parts[done:], epoch, sum(parts[:done])):
            input = to_numbers(move(batch.input, self.device), pixels=source.input.pixels)
            target = batch.target
            if source.samples.boxes is not None:
                target = boxes_of(source.samples.boxes, batch.positions)
            elif isinstance(target, torch.Tensor):
                target = move(target, self.device)
                target = target if source.samples.labels is not None else to_numbers(target, pixels=pixels)
            yield Batch(input, target, batch.positions, batch.uses)
        if self.passed is not None:
            self.passed.tell()

    def _sizes(self, batch_size: int, epoch: int | None) -> list[int]:
        """How many samples of each global batch are this worker's."""
        if self.balanced is not None and epoch is not None:
            return self.balanced.parts(epoch, batch_size)
        if not self.kept:
            return self.workers.batch_sizes(len(self.used), batch_size)
        places = deal_places(len(self.used), batch_size)[self.used]
        if not self.used.all():
            places = places[in_rounds(places)]
        return self.workers.count_own(self.workers.keeps(places), batch_size)


@dataclasses.dataclass(frozen=True)
class Feed:
    """A set of samples, and this worker's batches of it.

    The samples of each shape have batches of their own. Those of an epoch are in random order, which is the same for
    any number of workers.

    Attributes:
        source: the samples.
        parts: the samples of each shape.
        seed: determines the order of the parts' batches, together with the epoch.
    """

    source: Source
    parts: tuple[Part, ...]
    seed: tuple[int, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether all samples are in the workers' memory."""
        return all(part.kept for part in self.parts)

    def num_batches(self, batch_size: int) -> int:
        """The number of batches in a pass."""
        return sum(part.num_batches(batch_size) for part in self.parts)

    def global_batches(self, batch_size: int, epoch: int, done: int = 0) -> Iterator[GlobalBatch]:
        """Each batch of an epoch.

        The first `done` batches of the epoch are skipped, and so are batches without samples.
        """
        order = self._order(batch_size, epoch)
        begun = self._count(order[:done])
        streams = [part.counted_batches(batch_size, epoch, n) for part, n in zip(self.parts, begun, strict=True)]
        for number, batch in enumerate(_interleave(streams, order[done:]), done + 1):
            if batch.size:
                yield batch._replace(number=number)

    def batches(self, batch_size: int, epoch: int | None) -> Iterator[Batch]:
        """This worker's part of each global batch: in the order of `epoch`, or part by part if it is None.

        Raises:
            DataError: more than half of the pass's samples were bad; raised in all workers at once.
        """
        streams = [part.batches(batch_size, epoch) for part in self.parts]
        yield from _interleave(streams, self._order(batch_size, epoch))

    def close(self) -> None:
        """Stop reading."""
        for part in self.parts:
            part.shard.close()

    def _order(self, batch_size: int, epoch: int | None) -> Sequence[int]:
        """The part of each batch."""
        order = np.repeat(np.arange(len(self.parts)), [part.num_batches(batch_size) for part in self.parts])
        if epoch is not None and len(self.parts) > 1:
            np.random.default_rng(mix_seed(*self.seed, epoch)).shuffle(order)
        return order.tolist()

    def _count(self, order: Sequence[int]) -> list[int]:
        """How many batches of each part there are in `order`."""
        return [order.count(number) for number in range(len(self.parts))]


def _interleave(streams: Sequence[Iterator[T]], order: Sequence[int]) -> Iterator[T]:
    """What the streams yield, the next item of stream `order[i]` at position i; all streams are read to their end."""
    for number in order:
        yield next(streams[number])
    for stream in streams:
        # A pass over samples reports on them when it ends; there is nothing left to yield.
        yield from stream


class Passed:
    """The bad samples that a worker found while streaming; reported after each pass, each sample once."""

    def __init__(self, source: Source, workers: Workers, emit: Emit):
        self.source = source
        self.reasons: dict[int, str] = {}
        self._workers = workers
        self._emit = emit
        self._known: set[int] = set()

    def tell(self) -> None:
        """Report the new bad samples; every worker must call it. Raises DataError if too many samples are bad."""
        # A copy: reading ahead for the next pass may find more meanwhile.
        own = gather_bad_samples(self.source.name, self.source.samples, dict(self.reasons)).without(self._known)
        new = merge_bad_samples(self._workers.gather(own))
        self._known |= new.numbers
        dataclasses.replace(new, numbers=frozenset(self._known)).refuse_too_many()
        if len(new):
            self._emit(Skipped(new))
