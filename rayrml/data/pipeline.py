"""Ray Data pipelines: from lists of samples to decoded arrays, in tasks that start fast and in a known order."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import ray
import ray.data

from rayrml.cluster import ray_internals
from rayrml.cluster.shortage import waiting_for_cpus
from rayrml.data.ahead import Ahead
from rayrml.data.decode_tasks import Decoded, as_decoded, do_task, make_task
from rayrml.data.decoding import Decoder
from rayrml.data.sampling import Picks
from rayrml.data.sources import Source
from rayrml.data.task_sizes import (
    BLOCK_BYTES,
    Portion,
    Window,
    block_size,
    divide_cluster,
    sizes_at_once,
    sizes_in_order,
    windows,
)

# Decoding that takes less than this is done in the process that waits for it: the first tasks of a process take seconds
# to start, later ones a quarter of a second. For a consumer that computes in the meantime, tasks are always better.
_SECONDS_COLD, _SECONDS_WARM, _SECONDS_STREAMING = 4.0, 0.5, 0.25
_FIRST_SAMPLES = 16  # enough to estimate how long the others will take
_SECONDS_HERE = 0.1  # of samples that are handed over together
_tasks_ran = threading.Event()
_TASKS_OF_CPU = 4  # in flight at once
_SHARE_LEFT = 0.25  # of a window's samples, when the next one begins
_SECONDS_BETWEEN_LIMITS = 0.05  # Ray's default is one second; a batch of images is decoded in less


class Pipeline:
    """Decodes samples for one of several processes that share a cluster.

    Args:
        decode_cpus: logical CPUs per task.
        num_sharing: how many processes decode, each of them its own samples.
        say: told, in another thread, that tasks wait for CPUs.
    """

    def __init__(self, *, decode_cpus: float, num_sharing: int = 1, say: Callable[[str], None] = lambda text: None):
        self._decode_cpus = decode_cpus
        self._num_sharing = num_sharing
        self._say = say
        # Seconds that a sample of a source and shape took when it was decoded in this process.
        self._paces: dict[tuple[str, tuple[int, ...]], float] = {}

    def decode(
        self,
        source: Source,
        indices: np.ndarray,
        *,
        smallest_chunk: int = 1,
        at_once: bool = False,
        seed: int | None = None,
        uses: np.ndarray | None = None,
    ) -> Iterator[Decoded]:
        """Yield the decoded samples at `indices`, some at a time, each once; in order unless needed `at_once`.

        Tasks decode ahead of the consumer, unless it is estimated to be faster that this process decodes.

        Args:
            source: the source of the samples.
            indices: which samples, in the requested order.
            smallest_chunk: smallest number of samples per task.
            at_once: whether the consumer waits for all of them before it does anything else.
            seed: determines the samples' random numbers, if they have any.
            uses: (n,) numbers that determine them, too, by default the indices; a sample may come several times.
        """
        picks = Picks(indices, indices if uses is None else uses)
        if source.here:
            yield from _decode_here(source, picks, smallest_chunk, seed)
            return
        portion = cluster_portion(self._num_sharing)
        decoder = Decoder(source.decodings, block_size(source.bytes_per_sample, smallest_chunk, portion))
        done = 0
        for decoded in self._begin(decoder, source, picks, seed, at_once=at_once):
            done += len(decoded.inputs)
            yield decoded
        if done == len(indices):
            return
        _tasks_ran.set()
        left = picks.at(slice(done, None))
        sizes = (sizes_at_once if at_once else sizes_in_order)(
            len(left.samples), self._paces[_kind(source)], portion, smallest=smallest_chunk, most=decoder.most
        )

        def dataset(tasks: Window) -> ray.data.Dataset:
            rows = [make_task(source, left.at(slice(begin, end)), begin, seed) for begin, end in tasks]
            return self._dataset(decoder, rows, source.name, portion, in_order=not at_once)

        arriving = in_sequence(windows(len(left.samples), sizes, portion.first_window), dataset)
        with waiting_for_cpus(self._decode_cpus, self._say):
            begun = list(itertools.islice(arriving, 1))
        for block in itertools.chain(begun, arriving):
            yield as_decoded(block, done)

    def _begin(
        self, decoder: Decoder, source: Source, picks: Picks, seed: int | None, *, at_once: bool
    ) -> Iterator[Decoded]:
        """The first samples, decoded in this process: as many as tell how fast that is, or all if they take no time."""
        count, kind = len(picks.samples), _kind(source)
        patience = _SECONDS_STREAMING if not at_once else _SECONDS_WARM if _tasks_ran.is_set() else _SECONDS_COLD
        if (pace := self._paces.get(kind)) is not None and pace * count > patience:
            return
        done, size = 0, 1  # the first one may have to import its reader
        while done < count:
            started = time.perf_counter()
            (decoded,) = do_task(decoder, make_task(source, picks.at(slice(done, done + size)), done, seed))
            pace = (time.perf_counter() - started) / len(decoded.inputs)
            done += len(decoded.inputs)
            yield decoded
            if (done > 1 or pace > patience) and pace * count > patience:
                break
            size = _FIRST_SAMPLES if done == 1 else max(int(_SECONDS_HERE / pace), _FIRST_SAMPLES)
            size = min(size, decoder.most)
        if pace is not None:
            self._paces[kind] = pace

    def _dataset(
        self, decoder: Any, rows: list[dict[str, Any]], name: str, portion: Portion, *, in_order: bool
    ) -> ray.data.Dataset:
        """A lazy dataset of what the tasks of these rows decode, with the columns of `Decoded`."""
        decoded = tasks_of(rows).map_batches(decoder, batch_size=None, num_cpus=self._decode_cpus)
        decoded.context.execution_options.preserve_order = in_order
        return bounded(decoded, name, portion)


def cluster_portion(num_sharing: int = 1) -> Portion:
    """The portion of the cluster of one of so many processes that share it."""
    return divide_cluster(ray.nodes(), num_sharing)


def tasks_of(rows: list[dict[str, Any]]) -> ray.data.Dataset:
    """A dataset with one task for each row."""
    ray_internals.set_seconds_between_limits(_SECONDS_BETWEEN_LIMITS)
    return ray.data.from_items(rows, override_num_blocks=len(rows))


def bounded(data: ray.data.Dataset, name: str, portion: Portion) -> ray.data.Dataset:
    """The same dataset with its name on the dashboard, and tasks that do not get far ahead of the consumer.

    Otherwise they would fill the memory of machines, and other processes would wait for their CPUs.
    """
    data.set_name(name)
    limits = {"cpu": float(_TASKS_OF_CPU * portion.num_cpus), "object_store_memory": portion.ahead_bytes}
    data.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(**limits)
    data.context.target_max_block_size = BLOCK_BYTES  # otherwise blocks are merged up to 128 MB
    return data


def in_sequence(
    windows: Iterable[Window], dataset: Callable[[Window], ray.data.Dataset], *, share_left: float = _SHARE_LEFT
) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of the datasets that are made of windows of tasks, each when it is its turn.

    A dataset begins when only this share of the samples of the one before is left, so that CPUs do not wait.
    """
    waiting = iter(windows)
    window = next(waiting, None)
    arriving: Iterator[dict[str, np.ndarray]] = iter(()) if window is None else _blocks_of(window, dataset)
    with contextlib.ExitStack() as stack:
        while window is not None:
            left, most_left = _count(window), share_left * _count(window)
            window, following = None, None
            for block in arriving:
                left -= len(block["place"])
                if following is None and left <= most_left and (window := next(waiting, None)) is not None:
                    following = stack.enter_context(contextlib.closing(Ahead(_blocks_of(window, dataset))))
                yield block
            if following is not None:
                arriving = following


def _count(window: Window) -> int:
    return window[-1][1] - window[0][0]


def _blocks_of(window: Window, dataset: Callable[[Window], ray.data.Dataset]) -> Iterator[dict[str, np.ndarray]]:
    yield from blocks(dataset(window))  # made when it is their turn


def blocks(data: ray.data.Dataset, ahead: int = 2) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of a dataset, as arrays by column, each once; the next `ahead` blocks are prefetched."""
    yield from cast(
        "Iterator[dict[str, np.ndarray]]",
        data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=ahead),
    )


def _decode_here(source: Source, picks: Picks, smallest: int, seed: int | None) -> Iterator[Decoded]:
    size = max(BLOCK_BYTES // source.bytes_per_sample, smallest)
    decoder = Decoder(source.decodings, size)
    for first in range(0, len(picks.samples), size):
        yield from do_task(decoder, make_task(source, picks.at(slice(first, first + size)), first, seed))


def _kind(source: Source) -> tuple[str, tuple[int, ...]]:
    return source.name, source.shape
