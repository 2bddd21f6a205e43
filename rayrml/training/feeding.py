"""How a worker gets its samples: decoded once and kept in memory, or decoded again in each epoch."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from rayrml.data import kept_arrays
from rayrml.data.bad_samples import BadSamples, gather_bad_samples, list_reasons, merge_bad_samples
from rayrml.data.decode_tasks import Decoded
from rayrml.data.pipeline import Pipeline
from rayrml.data.places import deal_places
from rayrml.data.sampling import Balanced, Picks
from rayrml.data.shards import Batch, ResidentShard, StreamedShard
from rayrml.data.sources import Group, Source
from rayrml.errors import DataError, Problem
from rayrml.formatting import format_bytes
from rayrml.reporting.messages import Emit, Phase, Skipped
from rayrml.training.feed import Feed, Part, Passed
from rayrml.training.job import Job
from rayrml.training.residence import describe_lack, fits, share_of_gpu, share_of_machine
from rayrml.training.sample_order import (
    FINAL_TEST,
    TRAINING,
    deal_out,
    keeps_samples,
    labels_of,
    seed_groups,
    transforms_seed,
)
from rayrml.workers import Workers

_SECONDS_OF_LOOKING = 10.0  # for more bad samples, once one of them ends the run


@dataclasses.dataclass(frozen=True)
class Feeder:
    """Makes one worker's feeds."""

    job: Job
    workers: Workers
    device: torch.device
    emit: Emit

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """Decodes this worker's samples."""
        return Pipeline(
            decode_cpus=self.job.decode_cpus,
            num_sharing=self.workers.size,
            on_gpu=self.device.type == "cuda",
            say=lambda text: self.emit(Phase(text)),
        )

    def feed(self, source: Source, kind: int) -> Feed:
        """This worker's samples of `source`; if the job preloads, all that can be kept are read now.

        Those of the final test are read once, when they are needed.
        """
        preload = keeps_samples(self.job.config, source, kind)
        arrays = self.workers.ask_first(lambda: kept_arrays.count_bytes(source)) if preload else 0
        source = self._with_arrays(source, arrays) if arrays else source
        seed = (self.job.config.seed, kind)
        pairs = seed_groups(source, seed)
        if preload and not arrays:
            return Feed(source, self._preloaded(source, pairs, kind), seed)
        passed = Passed(source, self.workers, self.emit) if self.job.config.data.skips else None
        parts = [self._streamed(*pair, kind, passed) for pair in pairs]
        return Feed(source, tuple(parts), seed)

    def read_some(self, source: Source, rows: np.ndarray, feeds: Mapping[int, Feed | None]) -> Iterator[Batch]:
        """This worker's inputs of the samples at `rows` of a source, a batch at a time, in the samples' own order.

        They are those of one of `feeds`, by kind, if that keeps the samples of this source; else they are read once.
        """
        for kind, feed in feeds.items():
            if feed is not None and feed.source is source and feed.kept:
                # What is kept has its places in batches of this size.
                for batch in feed.batches(self._batch_size(kind), None):
                    yield batch.inputs_at(np.isin(batch.positions, rows))
                return
        yield from self.feed(source.only(rows), FINAL_TEST).batches(self._batch_size(FINAL_TEST), None)

    def _with_arrays(self, source: Source, size: int) -> Source:
        """The same samples, cut from arrays of `size` bytes that this machine's workers keep in memory together."""
        reads = kept_arrays.reading_worker(self.workers) == self.workers.rank
        self._refuse_too_large(source.name, size if reads else 0)
        what = f"the arrays of {len(source.samples)} {source.name} samples"
        self.emit(Phase(f"Reading {what} into memory: {format_bytes(size)}"))
        started = time.perf_counter()
        kept = kept_arrays.keep_arrays(source, self.workers)
        self.emit(Phase(f"Loaded in {time.perf_counter() - started:.1f} s"))
        return kept

    def _streamed(self, group: Group, seed: tuple[int, ...], kind: int, passed: Passed | None) -> Part:
        """This worker's samples of a group, decoded again in each epoch."""
        smallest = max(self.workers.share(self._batch_size(kind)), 1)

        def read(picks: Picks, epoch: int | None) -> Iterator[tuple[np.ndarray, ...]]:
            draws = None if epoch is None else transforms_seed(self.job.config.seed, epoch)
            how = {"smallest_chunk": smallest, "seed": draws, "uses": picks.uses}
            decoded = self.pipeline.decode(group.source, picks.samples, **how)
            return self._read(group, picks.samples, decoded, passed)

        num_epochs = self.job.config.num_epochs if kind == TRAINING else 0
        balanced = self._balanced(group, group.indices, seed) if self._balances(kind) else None
        shard = StreamedShard(
            read, group.indices, workers=self.workers, seed=seed, num_epochs=num_epochs, balanced=balanced
        )
        used = np.ones(len(group.indices), bool)
        return Part(group.source, shard, self.device, self.workers, used, passed=passed, balanced=balanced)

    def _balances(self, kind: int) -> bool:
        """Whether each class comes equally often."""
        return kind == TRAINING and self.job.config.data.sampling == "balanced"

    def _balanced(
        self, group: Group, samples: np.ndarray, seed: Sequence[int], places: np.ndarray | None = None
    ) -> Balanced:
        """What an epoch consists of; see `Balanced`."""
        labels = labels_of(group)[samples]
        return Balanced(samples, labels, seed=seed, workers=self.workers, places=places)

    def _batch_size(self, kind: int) -> int:
        data = self.job.config.data
        return data.batch_size if kind == TRAINING else data.test_batch_size

    def _preloaded(
        self, source: Source, groups: Sequence[tuple[Group, tuple[int, ...]]], kind: int
    ) -> tuple[Part, ...]:
        """This worker's samples of each group, with the group's seed, all read now."""
        size = format_bytes(source.bytes_in_total)
        self.emit(Phase(f"Reading {len(source.samples)} {source.name} samples into memory: {size}"))
        started = time.perf_counter()
        found = [self._resident_part(group, seed, kind) for group, seed in groups]
        self.emit(Phase(f"Loaded in {time.perf_counter() - started:.1f} s"))
        parts = tuple(part for part, _ in found)
        bad = merge_bad_samples([bad for _, bad in found])
        bad.refuse_too_many()
        if len(bad):
            self.emit(Skipped(bad, Feed(source, parts).num_batches(self._batch_size(kind))))
        return parts

    def _resident_part(self, group: Group, seed: tuple[int, ...], kind: int) -> tuple[Part, BadSamples]:
        """This worker's samples of a group, and the bad ones of all workers."""
        balances = self._balances(kind)
        order = deal_out(group, seed, shuffles=kind == TRAINING, balances=balances)
        places = deal_places(len(order), self._batch_size(kind))
        own = self.workers.keeps(places)
        (inputs, *targets), bad = self._resident(group.source, order[own])
        used = ~np.isin(order, list(bad.numbers))
        balanced = self._balanced(group, order[used], seed, places[used]) if balances else None
        shard = ResidentShard(
            inputs,
            targets[0] if targets else None,
            order[own],
            places=places[own],
            seed=seed,
            used=used[own],
            balanced=balanced,
        )
        return Part(group.source, shard, self.device, self.workers, used, kept=True, balanced=balanced), bad

    def _read(
        self, group: Group, indices: np.ndarray, blocks: Iterator[Decoded], passed: Passed | None
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Blocks of inputs, targets and a mask of the usable rows, in the order of `indices`."""
        source = group.source
        targets = source.samples.targets
        for decoded in blocks:
            rows = indices[decoded.first : decoded.first + len(decoded.inputs)]
            reasons = list_reasons(rows, decoded.errors)
            if passed is not None:
                passed.reasons.update(reasons)
            elif reasons:
                raise self._all_bad(group, reasons, indices, blocks).error()
            good = decoded.errors == ""
            if decoded.targets is not None:
                yield decoded.inputs, decoded.targets, good
            elif targets is not None:
                yield decoded.inputs, targets[rows], good
            else:
                yield decoded.inputs, good

    def _all_bad(self, group: Group, reasons: dict[int, str], begun: np.ndarray, rest: Iterator[Decoded]) -> BadSamples:
        """The bad samples of this and the other workers, as far as they are found within the time limit.

        Those of other shapes are not looked at.

        Args:
            group: the samples.
            reasons: what is wrong with the bad samples found so far.
            begun: the samples whose reading has begun.
            rest: those that are still to be read.
        """
        end, source = time.monotonic() + _SECONDS_OF_LOOKING, group.source
        others = np.setdiff1d(group.indices, begun)
        partial = len(group.indices) < len(source.samples)
        for indices, blocks in ((begun, rest), (others, self.pipeline.decode(source, others))):
            for decoded in blocks:
                reasons |= list_reasons(indices[decoded.first : decoded.first + len(decoded.inputs)], decoded.errors)
                if time.monotonic() > end:
                    return gather_bad_samples(source.name, source.samples, reasons, partial=True)
        return gather_bad_samples(source.name, source.samples, reasons, partial=partial)

    def _resident(self, source: Source, indices: np.ndarray) -> tuple[list[torch.Tensor], BadSamples]:
        """Inputs (n, C, *spatial) and targets (arrays, int64 labels or values) at `indices`, and all bad samples.

        The tensors are on the GPU if they fit there and leave room for training.

        Raises:
            DataError: samples are bad and not to be skipped, or too many are bad.
        """
        self._refuse_too_large(source.name, source.bytes_per_sample * len(indices))
        sides = {name: _empty((len(indices), *side.shape), side.dtype) for name, side in source.sides.items()}
        reasons: dict[int, str] = {}
        for decoded in self.pipeline.decode(source, indices, at_once=True):
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
        if source.target is None and source.samples.targets is not None:
            tensors.append(torch.from_numpy(source.samples.targets[indices]))
        if self.device.type == "cuda" and self._fit_beside_a_step(sum(tensor.nbytes for tensor in tensors)):
            return [tensor.to(self.device) for tensor in tensors], bad
        return tensors, bad

    def _fit_beside_a_step(self, size: int) -> bool:
        """Whether so many bytes of samples leave the GPU the memory that training needs beside them."""
        share = share_of_gpu(size + self.job.step_bytes, self.device)
        return fits(share, self.workers.gather(share))

    def _refuse_too_large(self, name: str, size: int) -> None:
        """Raise DataError in all workers if the workers of one machine lack the memory for their samples.

        Those of this worker take `size` bytes.
        """
        lack = describe_lack(self.workers.gather(share_of_machine(size)))
        if lack is not None:
            cure = 'Set "preload": false, which reads them again in each epoch, or use more machines'
            raise DataError(Problem("neural_network.data.preload", f"the {name} samples need {lack}. {cure}"))


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)
