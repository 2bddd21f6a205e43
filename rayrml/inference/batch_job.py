"""Prediction without targets: this process or actors decode and compute, and there is one writer or shards."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch

from rayrml.cluster.allocation import Allocation
from rayrml.config.sections import NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.data.bad_samples import BadSamples, gather_bad_samples, list_reasons
from rayrml.data.pipeline import Pipeline
from rayrml.data.shards import Batch, boxes_of, to_numbers
from rayrml.data.sources import Group, Source
from rayrml.data.transforms import Transforms
from rayrml.data.whole_batches import in_whole_batches
from rayrml.errors import DataError, Problem
from rayrml.inference.applications import Pass, application_of
from rayrml.inference.arithmetic import arithmetic, autocast_dtype
from rayrml.inference.prediction_files import Destination, Outputs
from rayrml.inference.prediction_shards import ShardWriter, outputs_of
from rayrml.inference.shard_collection import ShardCollection
from rayrml.inference.shard_folder import ShardFolder
from rayrml.memory import keep_freed_memory
from rayrml.networks.network import Network


@dataclasses.dataclass(frozen=True)
class InferenceJob:
    """The network, the samples to predict, and the output files.

    Attributes:
        config: the section `neural_network`; its batches are those of all actors together.
        network: with its trained weights, on the CPU.
        source: the samples.
        transforms: what is done to them.
        loss: row of the losses, for the values that it prescribes in outputs; None without one.
        destination: the files to write, possibly none.
    """

    config: NeuralNetwork
    network: Network
    source: Source
    transforms: Transforms
    loss: Choice | None
    destination: Destination

    @property
    def skips(self) -> bool:
        """Whether unreadable samples are skipped instead of causing an error."""
        return self.config.data.skips

    def divide_batch(self, allocation: Allocation) -> int:
        """The samples of a batch that each actor computes."""
        return -(-self.config.data.test_batch_size // allocation.most_workers)

    def writes_shards(self, allocation: Allocation) -> bool:
        """Whether those who compute write shards: not for a merged file if that is this process, the only writer."""
        return self.destination.shards == "keep" or (self.destination.shards == "merge" and not allocation.in_driver)


def predict(
    job: InferenceJob,
    allocation: Allocation,
    progress: Callable[[int], None],
    *,
    skipped: Callable[[BadSamples], None] = lambda bad: None,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Write one dataset for each sample of the job, and return their number.

    Args:
        job: what to predict.
        allocation: the number of actors, and the resources of each.
        progress: called with the number of samples predicted so far.
        skipped: called with the skipped samples, if there are any.
        say: told, in another thread, what the job waits for if the cluster lacks it.

    Raises:
        DataError: samples cannot be read and are not to be skipped, or too many cannot be read; the file still contains
            the others.
    """
    files = _Files(job.destination, shards=job.writes_shards(allocation), say=say)
    reasons: dict[int, str] = {}
    done = 0
    with contextlib.ExitStack() as stack:
        stack.callback(files.discard)  # does nothing once the files are closed
        # Nobody writes shards any more when they are discarded.
        results = stack.enter_context(contextlib.closing(_results(job, allocation, files, say)))
        for block in results:
            good = [i for i, error in enumerate(block["error"]) if not error]
            reasons |= list_reasons(block["place"], block["error"])
            files.take(block, good)
            done += len(good)
            progress(done)
        if done:
            files.close(complete=job.skips or not reasons)
    bad = gather_bad_samples("inference", job.source.samples, reasons)
    if reasons and not job.skips:
        count = f"{len(reasons)} of {len(job.source.samples)} samples have no prediction; the other {done} have one"
        raise DataError(*bad.error().problems[:-1], Problem("", count))
    bad.refuse_too_many()
    if len(bad):
        skipped(bad)
    return done


class _Files:
    """The files of a job, filled block by block.

    Args:
        destination: what to write.
        shards: whether the blocks' outputs are in shards.
        say: told of a wait for another run in the same folder.
    """

    def __init__(self, destination: Destination, *, shards: bool, say: Callable[[str], None]):
        self._destination = destination
        self._collection: ShardCollection | None = None
        self._folder = ShardFolder(destination.path) if shards and destination.path is not None else None
        if self._folder is not None:
            self._collection = ShardCollection(destination, self._folder, say)
            destination = dataclasses.replace(destination, path=None)
        self._gathers = self._collection is None or destination.gathers
        try:
            self._files = destination.open()
        except BaseException:
            if self._collection is not None:
                self._collection.discard()
            raise

    def shard_writer(self, indices: np.ndarray) -> ShardWriter | None:
        """Who writes shards of the samples at `indices` (n,), None if nobody does."""
        if self._collection is None or self._folder is None:
            return None
        return ShardWriter(self._destination, self._folder, self._collection.token, indices)

    def take(self, block: dict[str, np.ndarray], good: list[int]) -> None:
        """Write the `good` samples of a block, or note in which shard they are. Raises DataError."""
        if self._collection is not None and (failure := block["failure"][0]):
            raise DataError(failure)
        indices = block["place"][good]
        if good and self._gathers:
            self._files.write(indices, outputs_of(block["output"][good]))
        if self._collection is not None:
            self._collection.take(indices, block["shard"][0], whole=block["whole"][0])

    def close(self, *, complete: bool) -> None:
        """Give the files their names, those of slices only if they are `complete`. Raises DataError."""
        if self._collection is not None:
            self._collection.close()
        self._files.close(complete=complete)

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._files.discard()
        if self._collection is not None:
            self._collection.discard()


def _results(
    job: InferenceJob, allocation: Allocation, files: _Files, say: Callable[[str], None]
) -> Generator[dict[str, np.ndarray], None, None]:
    """Blocks of samples of one shape, with each one's `place`, and its `output` or the `error` instead of it.

    If there are shards, the blocks are those of `ShardWriter.write`.
    """
    batch = job.divide_batch(allocation)
    forward = Forward(job, batch, allocation.driver_device) if allocation.in_driver else None
    pipeline = Pipeline(decode_cpus=allocation.decode_cpus, say=say)
    for group in job.source.groups():
        writer = files.shard_writer(group.indices)
        if forward is None:
            from rayrml.inference import actors  # Ray Data takes a second to import

            found = actors.results(job, group, allocation, writer=writer, say=say)
        else:
            found = _here(forward, group, pipeline)
            found = found if writer is None else writer.write(found)
        for block in found:
            yield {**block, "place": group.indices[block["place"]]}


def _here(forward: Forward, group: Group, pipeline: Pipeline) -> Iterator[dict[str, np.ndarray]]:
    """The results for samples of one shape, numbered in the group, computed in this process.

    Which samples are computed together depends on their numbers alone, and not on who decoded them or how fast: the
    last bits of an output may depend on the batch.
    """
    size, count = forward.batch_size, len(group.indices)
    decoded = pipeline.decode(group.source, group.indices, smallest_chunk=size, at_once=True)
    for batch in in_whole_batches(decoded, size, count):
        places = np.arange(batch.first, batch.first + len(batch.inputs))
        yield {"place": places, "output": forward(batch.inputs, places), "error": batch.errors}


class Forward:
    """The network on its device, which turns decoded samples into outputs."""

    def __init__(self, job: InferenceJob, batch_size: int, device: str):
        keep_freed_memory()
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.pixels = job.source.input.pixels
        self.transforms = job.transforms.batched.evaluation()
        config = job.config
        self.arithmetic = functools.partial(arithmetic, config.precision, self.device, benchmark=config.cudnn_benchmark)
        self.samples = job.source.samples
        self.step = application_of(config).evaluator(
            Pass(
                config,
                job.network.to(self.device).eval(),
                None if job.loss is None else job.loss.build(),
                job.source,
                job.transforms,
                autocast_dtype(config.precision, self.device),
            )
        )

    def __call__(self, inputs: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Outputs (n, ...) float32 for inputs (n, C, *spatial) at `places` (n,); (n,) arrays if shapes differ."""
        # Blocks in Ray's object store are read-only, which torch would warn about.
        samples = torch.from_numpy(inputs if inputs.flags.writeable else inputs.copy())
        starts = range(0, len(samples), self.batch_size)
        parts = [self._outputs(samples[start : start + self.batch_size], places[start:]) for start in starts]
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate(parts)
        found = np.empty(len(samples), object)
        found[:] = [rows for part in parts for rows in part]
        return found

    def _outputs(self, batch: torch.Tensor, places: np.ndarray) -> Outputs:
        """The outputs for a batch, whose samples are at the first of `places`."""
        inputs, _ = self.transforms(to_numbers(batch.to(self.device), pixels=self.pixels), None)
        places = places[: len(batch)]
        table = self.samples.boxes
        target = None if table is None else boxes_of(table, places)
        with self.arithmetic():
            return self.step.written(self.step(inputs, None, Batch(batch, target, places, places)))


def format_rate(started: float, done: int) -> str:
    """Samples per second since `started`, as text."""
    return f"{done / max(time.monotonic() - started, 1e-9):.0f} samples/s"
