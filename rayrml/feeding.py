"""How a worker gets its samples: decoded once and kept, or decoded anew in each epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from rayrml.data import pipeline
from rayrml.data.pipeline import Source
from rayrml.data.shards import Batch, ResidentShard, Shard, StreamedShard, as_numbers, mix_seed, moved
from rayrml.errors import DataError, Problem
from rayrml.jobs import Job
from rayrml.memory import available_memory, human_bytes
from rayrml.run_log import Emit, Phase
from rayrml.workers import Workers

TRAINING, TEST, TRANSFORMS = 0, 1, 2  # kinds of random draws that must not coincide


@dataclasses.dataclass(frozen=True)
class Feed:
    """Samples in use: where they come from, and what gives this worker its batches of them."""

    source: Source
    shard: Shard
    device: torch.device

    def batches(self, sizes: list[int], epoch: int | None, skip: int = 0) -> Iterator[Batch]:
        """Batches on the device that computes; in the order of `epoch`, or the samples' own if it is None.

        The first `skip` samples of the order are left out.

        Bytes that are pixels stay bytes, all other arrays become float32.
        """
        source = self.source
        pixels = source.target is not None and source.target.pixels
        for batch in self.shard.batches(sizes, epoch, skip):
            input = as_numbers(moved(batch.input, self.device), pixels=source.input.pixels)
            target = None if batch.target is None else moved(batch.target, self.device)
            if target is not None and source.target is not None:
                target = as_numbers(target, pixels=pixels)
            yield Batch(input, target, batch.positions)


@dataclasses.dataclass(frozen=True)
class Feeder:
    """What makes the feeds of one worker."""

    job: Job
    workers: Workers
    device: torch.device
    emit: Emit

    def feed(self, source: Source, kind: int) -> Feed:
        """This worker's samples of `source`; all of them are read now if the job preloads."""
        return Feed(source, self._shard(source, kind), self.device)

    def _shard(self, source: Source, kind: int) -> Shard:
        """This worker's samples of `source`, all read now or read again in each epoch."""
        seed = (self.job.seed, kind)
        if not self.job.preload:
            batch_size = self.job.batch_size if kind == TRAINING else self.job.test_batch_size
            smallest = max(self.workers.share(batch_size), 1)

            def read(indices: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
                return self._read(source, indices, smallest)

            num_epochs = self.job.num_epochs if kind == TRAINING else 0
            return StreamedShard(read, len(source.samples), workers=self.workers, seed=seed, num_epochs=num_epochs)
        size = source.bytes_per_sample * len(source.samples)
        self.emit(Phase(f"Reading {len(source.samples)} {source.name} samples into memory: {human_bytes(size)}"))
        order = np.arange(len(source.samples))
        if kind == TRAINING:
            # Files are listed by class: without this a worker would hold some classes only.
            np.random.default_rng(mix_seed(*seed)).shuffle(order)
        mine = order[self.workers.rank :: self.workers.size]
        inputs, *targets = self._resident(source, mine)
        return ResidentShard(inputs, targets[0] if targets else None, mine, seed=(*seed, self.workers.rank))

    def _read(self, source: Source, indices: np.ndarray, smallest: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Blocks of inputs and targets, in the order of `indices`."""
        labels = source.samples.labels
        for decoded in self._decode(source, indices, smallest):
            _refuse_broken([str(e) for e in decoded.errors if e])
            if decoded.targets is not None:
                yield decoded.inputs, decoded.targets
            elif labels is not None:
                yield decoded.inputs, labels[indices[decoded.first : decoded.first + len(decoded.inputs)]]
            else:
                yield (decoded.inputs,)

    def _resident(self, source: Source, indices: np.ndarray) -> list[torch.Tensor]:
        """Inputs (n, C, *spatial) and targets at `indices`, arrays or int64 labels, one tensor each.

        They are on the GPU if they fit beside the training.
        """
        self._refuse_too_large(source, len(indices))
        sides = {name: _empty((len(indices), *side.shape), side.dtype) for name, side in source.sides.items()}
        errors: list[str] = []
        for decoded in self._decode(source, indices, 1, at_once=True):
            rows = slice(decoded.first, decoded.first + len(decoded.inputs))
            sides["input"].numpy()[rows] = decoded.inputs
            if decoded.targets is not None:
                sides["target"].numpy()[rows] = decoded.targets
            errors += [str(e) for e in decoded.errors if e]
        _refuse_broken([e for part in self.workers.gather(errors) for e in part])
        tensors = list(sides.values())
        if source.target is None and source.samples.labels is not None:
            tensors.append(torch.from_numpy(source.samples.labels[indices]))
        needed = sum(tensor.nbytes for tensor in tensors)
        if self.device.type == "cuda" and needed < 0.5 * torch.cuda.mem_get_info(self.device)[0]:
            return [tensor.to(self.device) for tensor in tensors]
        return tensors

    def _refuse_too_large(self, source: Source, count: int) -> None:
        """Raise DataError, in all workers, if one of them has not the memory for its `count` samples."""
        needed, free = source.bytes_per_sample * count, available_memory()
        if any(self.workers.gather(needed > free)):
            message = (
                f"the {source.name} samples need {human_bytes(needed)} of memory in each worker, but there are "
                f'{human_bytes(free)}. Expected "preload": false, which reads them anew in each epoch, or more machines'
            )
            raise DataError(Problem("neural_network.data.preload", message))

    def _decode(
        self, source: Source, indices: np.ndarray, smallest: int, *, at_once: bool = False
    ) -> Iterator[pipeline.Decoded]:
        return pipeline.decode(
            source,
            indices,
            decode_cpus=self.job.decode_cpus,
            smallest_chunk=smallest,
            alone=self.workers.size == 1,
            at_once=at_once,
        )


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype)


def _refuse_broken(errors: list[str]) -> None:
    if errors:
        shown = [Problem("", e) for e in errors[:10]]
        more = [Problem("", f"... and {len(errors) - 10} more that cannot be used")] if len(errors) > 10 else []
        raise DataError(*shown, *more)
