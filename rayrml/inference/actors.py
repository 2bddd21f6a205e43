"""Prediction on several workers or on a cluster: a Ray Data job whose actors compute, and usually decode, too.

Ray Data takes a second to import, so this module is imported only for such a job.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from rayrml.cluster.allocation import Allocation
from rayrml.cluster.connection import hide_stderr
from rayrml.cluster.shortage import waiting_for_actors, waiting_for_cpus
from rayrml.cpus import count_cpus
from rayrml.data.decode_tasks import make_tasks
from rayrml.data.decoding import Decoder
from rayrml.data.pipeline import cluster_portion
from rayrml.data.ray_tasks import bounded, in_sequence, tasks_of
from rayrml.data.sampling import Picks
from rayrml.data.sources import Group
from rayrml.data.task_sizes import Window, block_size, sizes_of_actors, windows
from rayrml.inference.batch_job import Forward, InferenceJob
from rayrml.inference.prediction_shards import ShardWriter


def results(
    job: InferenceJob,
    group: Group,
    allocation: Allocation,
    *,
    writer: ShardWriter | None,
    say: Callable[[str], None],
) -> Iterator[dict[str, np.ndarray]]:
    """The results for samples of one shape, numbered in the group, computed by actors."""
    batch, portion, count = job.divide_batch(allocation), cluster_portion(), len(group.indices)
    most = block_size(group.source.bytes_per_sample, batch, portion)
    sizes = sizes_of_actors(count, allocation.most_workers, portion, smallest=batch, most=most)
    picks = Picks(group.indices, group.indices)

    def dataset(tasks: Window) -> ray.data.Dataset:
        rows = make_tasks(group.source, picks, None, tasks)
        apart = allocation.use_gpu
        data = _dataset(job, group, allocation, rows, apart=apart, most_rows=most, writer=writer)
        return bounded(data, group.source.name, portion)

    # Actors hold their CPUs or GPUs until they are done, so those of the next window would wait for them.
    tasks = list(windows(count, sizes))
    arriving = in_sequence(tasks, dataset, share_left=0)
    num_actors = min(allocation.least_workers, len(tasks[0]))
    waiting = [waiting_for_actors(num_actors, _actor_resources(allocation), say)]
    waiting += [waiting_for_cpus(allocation.decode_cpus, say)] if allocation.use_gpu else []
    with contextlib.ExitStack() as stack:
        for watch in waiting:
            stack.enter_context(watch)
        if not allocation.verbose:
            # Ray's library prints an error for each actor that it starts: its constructor's arguments might get lost.
            stack.enter_context(hide_stderr())
        first = next(arriving, None)
    if first is not None:
        yield first
    yield from arriving


def _dataset(
    job: InferenceJob,
    group: Group,
    allocation: Allocation,
    rows: list[dict[str, Any]],
    *,
    apart: bool,
    most_rows: int,
    writer: ShardWriter | None = None,
) -> ray.data.Dataset:
    """The lazy dataset of `results`, computed by as many actors as there are tasks and room for.

    Actors decode their own samples, in blocks of at most `most_rows`, unless tasks `apart` from them do: a GPU would
    wait for it.
    """
    resources: dict[str, Any] = {f"num_{name.lower()}s": n for name, n in _actor_resources(allocation).items()}
    batch = job.divide_batch(allocation)
    least, most = (min(count, len(rows)) for count in (allocation.least_workers, allocation.most_workers))
    data = tasks_of(rows)
    decoder: Any = Decoder(group.source.decodings, most_rows)
    if apart:
        data = data.map_batches(decoder, batch_size=None, num_cpus=allocation.decode_cpus)
    return data.map_batches(
        Predictor,
        fn_constructor_args=(ray.put((job, writer)), batch, most, None if apart else decoder),
        # With GPUs, Ray requires a batch size; at this one every actor gets some samples.
        batch_size=min(most_rows, max(batch, -(-len(group.indices) // most))) if apart else None,
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        **resources,
    )


def _actor_resources(allocation: Allocation) -> dict[str, float]:
    return {"CPU": min(allocation.resources_per_worker.get("CPU", 1), 1), **({"GPU": 1} if allocation.use_gpu else {})}


class Predictor:
    """An actor that holds the network and turns samples into outputs; it decodes them first if it has a decoder."""

    def __init__(self, reference: ray.ObjectRef, batch_size: int, num_actors: int, decoder: Decoder | None):
        job: InferenceJob
        job, self.writer = ray.get(reference)
        # Ray limits a process to one thread; an actor may use its part of the machine.
        torch.set_num_threads(max(count_cpus() // num_actors, 1))
        self.decoder = decoder
        self.forward = Forward(job, batch_size, "cuda" if ray.get_gpu_ids() else "cpu")

    def __call__(self, block: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        """Rows `place`, `output` and `error` for the samples in `block`, part by part, or those of `ShardWriter`."""
        computed = self._compute(block)
        yield from computed if self.writer is None else self.writer.write(computed)

    def _compute(self, block: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        for part in self.decoder(block) if self.decoder else (block,):
            outputs = self.forward(part["input"], part["place"])
            yield {"place": part["place"], "output": outputs, "error": part["error"]}
