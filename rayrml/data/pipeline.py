"""Ray Data pipelines: from lists of samples to decoded arrays, in tasks that start fast and in a known order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import ray.data

from rayrml.cluster import ray_internals
from rayrml.cluster.shortage import waiting_for_cpus
from rayrml.data.decode_tasks import Decoded, as_decoded, do_task, make_task
from rayrml.data.decoding import Decoder
from rayrml.data.sampling import Picks
from rayrml.data.sources import Source

# Decoding that takes less than this is done in the process that waits for it: the first tasks of a process take seconds
# to start, later ones a quarter of a second. For a consumer that computes in the meantime, tasks are always better.
_SECONDS_COLD, _SECONDS_WARM, _SECONDS_STREAMING = 4.0, 0.5, 0.25
_FIRST_SAMPLES = 16  # enough to estimate how long the others will take
_tasks_ran = threading.Event()
_CHUNK_BYTES = 16 * 2**20  # a block: small enough for the object store, large enough to be worth a task
_MOST_BLOCKS = 16  # per task
_BLOCKS_OF_STORE = 8  # some are written while others are read
_SECONDS_BETWEEN_LIMITS = 0.05  # Ray's default is one second; a batch of images is decoded in less


def dataset(
    source: Source,
    indices: np.ndarray,
    *,
    decode_cpus: float,
    smallest_chunk: int = 1,
    at_once: bool = False,
    seed: int | None = None,
    uses: np.ndarray | None = None,
) -> ray.data.Dataset:
    """A lazy dataset of the samples at `indices`, decoded by tasks of `decode_cpus` CPUs.

    Its columns are those of `Decoded`, with `first` in each row. Rows come in the order of `indices`, or as they become
    ready if the consumer waits for all of them `at_once`. `seed` determines their random numbers, if they have any,
    together with their numbers `uses` (n,), by default the indices.
    """
    tasks = chunks(source, indices, smallest_chunk, at_once=at_once, seed=seed, uses=uses)
    decoder: Any = Decoder(source.decodings, block_size(source, smallest_chunk))
    decoded = tasks_of(tasks).map_batches(decoder, batch_size=None, num_cpus=decode_cpus)
    decoded.context.execution_options.preserve_order = not at_once
    return bounded(decoded, source.name)


def bounded(data: ray.data.Dataset, name: str) -> ray.data.Dataset:
    """The same dataset with its name on the dashboard, and tasks that do not get far ahead of the consumer.

    Otherwise they would fill the machine's memory.
    """
    data.set_name(name)
    memory = (2 * _num_cpus() + 4) * _CHUNK_BYTES
    limits = ray.data.ExecutionResources.for_limits(object_store_memory=memory)
    data.context.execution_options.resource_limits = limits
    data.context.target_max_block_size = _CHUNK_BYTES  # otherwise blocks are merged up to 128 MB
    return data


def tasks_of(chunks: list[dict[str, Any]]) -> ray.data.Dataset:
    """A dataset with one row and one task for each chunk."""
    ray_internals.set_seconds_between_limits(_SECONDS_BETWEEN_LIMITS)
    return ray.data.from_items(chunks, override_num_blocks=len(chunks))


def decode(
    source: Source,
    indices: np.ndarray,
    *,
    decode_cpus: float,
    smallest_chunk: int = 1,
    alone: bool = False,
    at_once: bool = False,
    seed: int | None = None,
    uses: np.ndarray | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Decoded]:
    """Yield the decoded samples at `indices`, some at a time, each once; in order unless needed `at_once`.

    Tasks decode ahead of the consumer; a process that is `alone` decodes itself if that is estimated to be faster.

    Args:
        source: the source of the samples.
        indices: which samples, in the requested order.
        decode_cpus: logical CPUs per task.
        smallest_chunk: smallest number of samples per task.
        alone: whether no other process of the run decodes.
        at_once: whether the consumer waits for all of them before it does anything else.
        seed: determines the samples' random numbers, if they have any.
        uses: (n,) numbers that determine them, too, by default the indices; a sample may come several times.
        say: told, in another thread, that the tasks wait for CPUs.
    """
    picks = Picks(indices, indices if uses is None else uses)
    if source.here:
        yield from _decode_here(source, picks, smallest_chunk, seed)
        return
    decoder, done, spent = Decoder(source.decodings, block_size(source, smallest_chunk)), 0, 0.0
    patience = _SECONDS_STREAMING if not at_once else _SECONDS_WARM if _tasks_ran.is_set() else _SECONDS_COLD
    size = max(_FIRST_SAMPLES, smallest_chunk)
    while alone and done < len(indices) and spent * len(indices) <= patience * done:
        started = time.perf_counter()
        (decoded,) = do_task(decoder, make_task(source, picks.at(slice(done, done + size)), done, seed))
        spent += time.perf_counter() - started
        done += len(decoded.inputs)
        size = min(_chunk_size(len(indices), smallest_chunk), decoder.most)
        yield decoded
    if done < len(indices):
        _tasks_ran.set()
        left = picks.at(slice(done, None))
        how: dict[str, Any] = {"smallest_chunk": smallest_chunk, "at_once": at_once, "seed": seed, "uses": left.uses}
        arriving = blocks(dataset(source, left.samples, decode_cpus=decode_cpus, **how))
        with waiting_for_cpus(decode_cpus, say):
            begun = list(itertools.islice(arriving, 1))
        for block in itertools.chain(begun, arriving):
            yield as_decoded(block, done)


def _decode_here(source: Source, picks: Picks, smallest: int, seed: int | None) -> Iterator[Decoded]:
    size = max(_CHUNK_BYTES // source.bytes_per_sample, smallest)
    decoder = Decoder(source.decodings, size)
    for first in range(0, len(picks.samples), size):
        yield from do_task(decoder, make_task(source, picks.at(slice(first, first + size)), first, seed))


def blocks(data: ray.data.Dataset, ahead: int = 2) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of a dataset, as arrays by column, each once; the next `ahead` blocks are prefetched."""
    yield from cast(
        "Iterator[dict[str, np.ndarray]]",
        data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=ahead),
    )


def chunks(
    source: Source,
    indices: np.ndarray,
    smallest: int = 1,
    *,
    at_once: bool = False,
    num_actors: int = 1,
    seed: int | None = None,
    uses: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """The samples of each task, at least `smallest`; enough tasks for all CPUs, and for `num_actors`.

    Each chunk contains `first`, the position of its first sample in `indices`, and the places of each side's samples.
    """
    most = block_size(source, smallest)
    if at_once:
        # Tasks deliver blocks as they finish them, and there is a pause between two tasks.
        size = short = max(min(-(-len(indices) // _num_cpus()), _MOST_BLOCKS * most), smallest)
    else:
        # The first tasks are short, because the consumer is waiting for them.
        size = min(_chunk_size(len(indices), smallest, num_actors), most)
        short = max(size // 4, smallest)
    sizes = itertools.chain(itertools.repeat(short, 2 * _num_cpus()), itertools.repeat(size))
    picks = Picks(indices, indices if uses is None else uses)
    tasks: list[dict[str, Any]] = []
    first = 0
    while first < len(indices):
        count = next(sizes)
        tasks.append(make_task(source, picks.at(slice(first, first + count)), first, seed))
        first += count
    return tasks


def block_size(source: Source, smallest: int = 1) -> int:
    """The largest number of samples in a block: at least `smallest`, unless that is too much for an object store.

    Blocks that do not fit into the store are spilled to disk, which takes seconds per block.
    """
    most = _store_bytes() // _BLOCKS_OF_STORE // source.bytes_per_sample
    return max(min(max(_CHUNK_BYTES // source.bytes_per_sample, smallest), most), 1)


def _store_bytes() -> int:
    """Size in bytes of the smallest object store of any node."""
    found = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
    return int(min((size for size in found if size), default=_CHUNK_BYTES * _BLOCKS_OF_STORE))


def _chunk_size(count: int, smallest: int, num_actors: int = 1) -> int:
    """Samples per task for `count` samples in total: several tasks for each CPU, and each actor that may come."""
    return max(-(-count // (4 * max(_num_cpus(), num_actors))), smallest)


def _num_cpus() -> int:
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)
