"""How a worker gets its samples: decoded once and kept in memory, or decoded again in each epoch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import torch

from rayrml.data import pipeline
from rayrml.data.bad_samples import BadSamples, gather_bad_samples, list_reasons, merge_bad_samples
from rayrml.data.pipeline import Source
from rayrml.data.shards import Batch, ResidentShard, Shard, StreamedShard, mix_seed, move, to_numbers
from rayrml.errors import DataError, Problem
from rayrml.formatting import format_bytes
from rayrml.reporting.messages import Emit, Phase, Skipped
from rayrml.training.job import Job
from rayrml.training.residence import describe_lack, fits, share_of_gpu, share_of_machine
from rayrml.workers import Workers, global_batch_sizes

TRAINING, TEST, TRANSFORMS = 0, 1, 2  # seeds of random draws that must not coincide
_SECONDS_OF_LOOKING = 10.0  # for more bad samples, once one of them ends the run


@dataclasses.dataclass(frozen=True)
class Feed:
    """A set of samples, and this worker's batches of it.

    Attributes:
        source: the samples.
        shard: this worker's share of them.
        device: the device that computes.
        workers: the workers that share the samples.
        used: (N,) which of the samples are used, in the order in which they are dealt out.
        passed: reports the bad samples of each pass; None if they are all known already.
    """

    source: Source
    shard: Shard
    device: torch.device
    workers: Workers
    used: np.ndarray
    passed: _Passed | None = None

    def num_batches(self, batch_size: int) -> int:
        """The number of batches in a pass."""
        return len(global_batch_sizes(int(self.used.sum()), batch_size))

    def global_batches(self, batch_size: int, epoch: int, done: int = 0) -> Iterator[tuple[int, Batch, int]]:
        """The number of each global batch, this worker's part of it, and the number of samples in all parts.

        The first `done` batches of the epoch are skipped, and so are batches without samples.
        """
        sizes = global_batch_sizes(int(self.used.sum()), batch_size)[done:]
        batches = self.batches(batch_size, epoch, done)
        for number, (batch, size) in enumerate(zip(batches, sizes, strict=True), done + 1):
            if self.passed is None:
                yield number, batch, size
                continue
            count = self.workers.sum(torch.tensor([len(batch.positions)], device=self.device))
            if num_samples := int(count.item()):
                yield number, batch, num_samples

    def batches(self, batch_size: int, epoch: int | None, done: int = 0) -> Iterator[Batch]:
        """This worker's part of each global batch except the first `done`, on the device that computes.

        They are in the order of `epoch`, or in the samples' own order if it is None. Pixels stay bytes, all other
        arrays become float32.

        Raises:
            DataError: more than half of the pass's samples were bad; raised in all workers at once.
        """
        source = self.source
        pixels = source.target is not None and source.target.pixels
        parts = self.workers.parts(self.used, batch_size)
        for batch in self.shard.batches(parts[done:], epoch, sum(parts[:done])):
            input = to_numbers(move(batch.input, self.device), pixels=source.input.pixels)
            target = None if batch.target is None else move(batch.target, self.device)
            if target is not None and source.target is not None:
                target = to_numbers(target, pixels=pixels)
            yield Batch(input, target, batch.positions)
        if self.passed is not None:
            self.passed.tell()


class _Passed:
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


@dataclasses.dataclass(frozen=True)
class Feeder:
    """Makes one worker's feeds."""

    job: Job
    workers: Workers
    device: torch.device
    emit: Emit

    def feed(self, source: Source, kind: int) -> Feed:
        """This worker's samples of `source`; if the job preloads, all that can be kept are read now."""
        if self.job.config.data.preload and not source.random:
            return self._preloaded(source, kind)
        passed = _Passed(source, self.workers, self.emit) if self.job.config.data.skips else None
        smallest = max(self.workers.share(self._batch_size(kind)), 1)

        seed = self.job.config.seed

        def read(indices: np.ndarray, epoch: int | None) -> Iterator[tuple[np.ndarray, ...]]:
            blocks = self._decode(
                source, indices, smallest, seed=None if epoch is None else transforms_seed(seed, epoch)
            )
            return self._read(source, indices, blocks, passed)

        num_epochs = self.job.config.num_epochs if kind == TRAINING else 0
        size = len(source.samples)
        shard = StreamedShard(read, size, workers=self.workers, seed=(seed, kind), num_epochs=num_epochs)
        used = np.ones(len(source.samples), bool)
        return Feed(source, shard, self.device, self.workers, used, passed)

    def _batch_size(self, kind: int) -> int:
        data = self.job.config.data
        return data.batch_size if kind == TRAINING else data.test_batch_size

    def _preloaded(self, source: Source, kind: int) -> Feed:
        """This worker's samples, all read now."""
        size = source.bytes_per_sample * len(source.samples)
        self.emit(Phase(f"Reading {len(source.samples)} {source.name} samples into memory: {format_bytes(size)}"))
        seed = (self.job.config.seed, kind)
        order = np.arange(len(source.samples))
        if kind == TRAINING:
            # Files are listed by class: without shuffling, a worker would hold only some of the classes.
            np.random.default_rng(mix_seed(*seed)).shuffle(order)
        mine = order[self.workers.rank :: self.workers.size]
        started = time.perf_counter()
        (inputs, *targets), bad = self._resident(source, mine)
        self.emit(Phase(f"Loaded in {time.perf_counter() - started:.1f} s"))
        used = ~np.isin(order, list(bad.numbers))
        shard = ResidentShard(
            inputs,
            targets[0] if targets else None,
            mine,
            seed=(*seed, self.workers.rank),
            used=used[self.workers.rank :: self.workers.size],
        )
        feed = Feed(source, shard, self.device, self.workers, used)
        if len(bad):
            self.emit(Skipped(bad, feed.num_batches(self._batch_size(kind))))
        return feed

    def _read(
        self, source: Source, indices: np.ndarray, blocks: Iterator[pipeline.Decoded], passed: _Passed | None
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Blocks of inputs, targets and a mask of the usable rows, in the order of `indices`."""
        labels = source.samples.labels
        for decoded in blocks:
            rows = indices[decoded.first : decoded.first + len(decoded.inputs)]
            reasons = list_reasons(rows, decoded.errors)
            if passed is not None:
                passed.reasons.update(reasons)
            elif reasons:
                raise self._all_bad(source, reasons, [(indices, blocks)]).error()
            good = decoded.errors == ""
            if decoded.targets is not None:
                yield decoded.inputs, decoded.targets, good
            elif labels is not None:
                yield decoded.inputs, labels[rows], good
            else:
                yield decoded.inputs, good

    def _all_bad(
        self, source: Source, reasons: dict[int, str], begun: list[tuple[np.ndarray, Iterator[pipeline.Decoded]]]
    ) -> BadSamples:
        """The bad samples of this and the other workers, as far as they are found within the time limit.

        `reasons` are those of the bad samples found so far in the reading that has `begun`.
        """
        end = time.monotonic() + _SECONDS_OF_LOOKING
        others = np.setdiff1d(np.arange(len(source.samples)), begun[0][0])
        for indices, blocks in [*begun, (others, self._decode(source, others, 1))]:
            for decoded in blocks:
                reasons |= list_reasons(indices[decoded.first : decoded.first + len(decoded.inputs)], decoded.errors)
                if time.monotonic() > end:
                    return gather_bad_samples(source.name, source.samples, reasons, partial=True)
        return gather_bad_samples(source.name, source.samples, reasons)

    def _resident(self, source: Source, indices: np.ndarray) -> tuple[list[torch.Tensor], BadSamples]:
        """Inputs (n, C, *spatial) and targets (arrays or int64 labels) at `indices`, and all workers' bad samples.

        The tensors are on the GPU if they fit there and leave room for training.

        Raises:
            DataError: samples are bad and not to be skipped, or too many are bad.
        """
        self._refuse_too_large(source, len(indices))
        sides = {name: _empty((len(indices), *side.shape), side.dtype) for name, side in source.sides.items()}
        reasons: dict[int, str] = {}
        for decoded in self._decode(source, indices, 1, at_once=True):
            rows = slice(decoded.first, decoded.first + len(decoded.inputs))
            sides["input"].numpy()[rows] = decoded.inputs
            if decoded.targets is not None:
                sides["target"].numpy()[rows] = decoded.targets
            reasons |= list_reasons(indices[rows], decoded.errors)
        bad = merge_bad_samples(self.workers.gather(gather_bad_samples(source.name, source.samples, reasons)))
        if len(bad) and not self.job.config.data.skips:
            raise bad.error()
        bad.refuse_too_many()
        tensors = list(sides.values())
        if source.target is None and source.samples.labels is not None:
            tensors.append(torch.from_numpy(source.samples.labels[indices]))
        if self.device.type == "cuda" and self._fit_beside_a_step(sum(tensor.nbytes for tensor in tensors)):
            return [tensor.to(self.device) for tensor in tensors], bad
        return tensors, bad

    def _fit_beside_a_step(self, size: int) -> bool:
        """Whether so many bytes of samples leave the GPU the memory that training needs beside them."""
        share = share_of_gpu(size + self.job.step_bytes, self.device)
        return fits(share, self.workers.gather(share))

    def _refuse_too_large(self, source: Source, count: int) -> None:
        """Raise DataError in all workers if the workers of one machine lack the memory for their samples.

        This worker has `count` of them.
        """
        lack = describe_lack(self.workers.gather(share_of_machine(source.bytes_per_sample * count)))
        if lack is not None:
            cure = 'Set "preload": false, which reads them again in each epoch, or use more machines'
            raise DataError(Problem("neural_network.data.preload", f"the {source.name} samples need {lack}. {cure}"))

    def _decode(
        self, source: Source, indices: np.ndarray, smallest: int, *, at_once: bool = False, seed: int | None = None
    ) -> Iterator[pipeline.Decoded]:
        return pipeline.decode(
            source,
            indices,
            decode_cpus=self.job.decode_cpus,
            smallest_chunk=smallest,
            alone=self.workers.size == 1,
            at_once=at_once,
            seed=seed,
            say=lambda text: self.emit(Phase(text)),
        )


def transforms_seed(seed: int, epoch: int) -> int:
    """The seed of the samples' random numbers in an epoch of training."""
    return mix_seed(seed, TRANSFORMS, epoch)


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
