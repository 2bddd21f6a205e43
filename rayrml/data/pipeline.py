"""Pipelines: from lists of samples to decoded arrays, in this process or in tasks of Ray Data that start fast."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rayrml.cluster import late_start, nodes
from rayrml.cluster.shortage import waiting_for_cpus
from rayrml.data.decode_tasks import Decoded, as_decoded, do_task, make_task, make_tasks
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
from rayrml.errors import ClusterError

if TYPE_CHECKING:
    import ray.data

# Decoding that takes less than this is done in the process that waits for it: the first tasks of a process take seconds
# to start, later ones a quarter of a second. For a consumer that computes in the meantime, tasks are always better.
_SECONDS_COLD, _SECONDS_WARM, _SECONDS_STREAMING = 4.0, 0.5, 0.25
# Of decoding that tasks have to save before it is worth starting Ray: its start and the first tasks take about as long.
_SECONDS_OF_START = 12.0
# CPUs with which tasks decode as fast as this process: they copy samples, and a consumer that computes on the CPUs in
# the meantime takes its share of them.
_CPUS_OF_TASKS, _CPUS_OF_TASKS_AND_CONSUMER = 1.2, 2.0
_FIRST_SAMPLES = 16  # enough to estimate how long the others will take
_SECONDS_HERE = 0.1  # of samples that are handed over together
_MOST_HERE = 64  # of them: the next ones may take far longer than those before
_tasks_ran = threading.Event()


class Pipeline:
    """Decodes samples for one of several processes that share a cluster.

    Args:
        decode_cpus: logical CPUs per task.
        num_sharing: how many processes decode, each of them its own samples.
        on_gpu: whether the consumer computes on a GPU, and leaves the CPUs to tasks.
        say: told, maybe in another thread, that Ray starts, or that tasks wait for CPUs.
    """

    def __init__(
        self,
        *,
        decode_cpus: float,
        num_sharing: int = 1,
        on_gpu: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ):
        self._decode_cpus = decode_cpus
        self._num_sharing = num_sharing
        self._on_gpu = on_gpu
        self._say = say
        # Seconds that a sample of a source and shape took when it was decoded in this process.
        self._paces: dict[tuple[str, tuple[int, ...]], float] = {}
        self._offer = late_start.find_offer()
        self._has_failed = False  # Ray has, to start
        self._lost = 0.0  # seconds that tasks would have saved by now

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
        planned = windows(len(left.samples), sizes, portion.first_window)
        make = functools.partial(make_tasks, source, left, seed)
        for block in self._in_tasks(decoder, planned, make, source.name, portion=portion, in_order=not at_once):
            yield as_decoded(block, done)

    def _begin(
        self, decoder: Decoder, source: Source, picks: Picks, seed: int | None, *, at_once: bool
    ) -> Iterator[Decoded]:
        """The first samples, decoded in this process: as many as tell how fast that is, or all if they take no time.

        While Ray starts for the others, this process goes on with them.
        """
        count, kind = len(picks.samples), _kind(source)
        patience = _SECONDS_STREAMING if not at_once else _SECONDS_WARM if _tasks_ran.is_set() else _SECONDS_COLD
        pace = self._paces.get(kind)
        if pace is not None and pace * count > patience and self._has_ray(pace * count, count, at_once=at_once):
            return
        done, size, spent = 0, 1, 0.0  # the first one may have to import its reader
        while done < count:
            started = time.perf_counter()
            (decoded,) = do_task(decoder, make_task(source, picks.at(slice(done, done + size)), done, seed))
            seconds = time.perf_counter() - started
            spent += seconds
            pace = seconds / len(decoded.inputs)
            done += len(decoded.inputs)
            yield decoded
            left = count - done
            estimate = pace * left if done > 1 else min(pace, pace * left)
            if estimate > patience and self._has_ray(spent + estimate, left, at_once=at_once):
                break
            size = _FIRST_SAMPLES if done == 1 else max(int(_SECONDS_HERE / pace), _FIRST_SAMPLES)
            size = min(size, _MOST_HERE, decoder.most)
        if pace is not None:
            self._paces[kind] = pace
        if self._offer is not None and spent > patience:
            self._lost += self._saving(spent, at_once=at_once)

    def _has_ray(self, seconds: float, count: int, *, at_once: bool) -> bool:
        """Whether Ray runs; begins to start it if tasks save enough of the `seconds` that decoding takes here.

        Args:
            seconds: of the samples that are wanted now, of which `count` are left.
            count: number of samples.
            at_once: whether the consumer waits for all of them.
        """
        if self._offer is None:
            return True
        if self._has_failed:
            return False
        if not self._offer.is_begun:
            if self._lost + self._saving(seconds, at_once=at_once) <= _SECONDS_OF_START:
                return False
            self._say(f"Starting Ray, which decodes the other {count} samples faster")
        try:
            return self._offer.is_ready()
        except ClusterError as error:  # a run that has begun needs Ray only to be faster
            self._has_failed = True
            self._say(f"This process goes on decoding by itself: {error}")
            return False

    def _saving(self, seconds: float, *, at_once: bool) -> float:
        """How many of the seconds that decoding takes in this process tasks would save."""
        cpus = _CPUS_OF_TASKS if at_once or self._on_gpu else _CPUS_OF_TASKS_AND_CONSUMER
        return seconds * max(1 - cpus / cluster_portion(self._num_sharing).num_cpus, 0)

    def _in_tasks(
        self,
        decoder: Decoder,
        planned: Iterator[Window],
        make: Callable[[Window], list[dict[str, Any]]],
        name: str,
        *,
        portion: Portion,
        in_order: bool,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Blocks of what tasks decode, with the columns of `Decoded`; `make` makes the rows of a window."""
        from rayrml.data import ray_tasks  # Ray Data takes a second to import

        def dataset(window: Window) -> ray.data.Dataset:
            decoded: Any = ray_tasks.tasks_of(make(window))
            decoded = decoded.map_batches(decoder, batch_size=None, num_cpus=self._decode_cpus)
            decoded.context.execution_options.preserve_order = in_order
            return ray_tasks.bounded(decoded, name, portion)

        arriving = ray_tasks.in_sequence(planned, dataset)
        with waiting_for_cpus(self._decode_cpus, self._say):
            begun = list(itertools.islice(arriving, 1))
        yield from begun
        yield from arriving


def cluster_portion(num_sharing: int = 1) -> Portion:
    """The portion of the cluster of one of so many processes that share it."""
    return divide_cluster(nodes.list_nodes(), num_sharing)


def _decode_here(source: Source, picks: Picks, smallest: int, seed: int | None) -> Iterator[Decoded]:
    size = max(BLOCK_BYTES // source.bytes_per_sample, smallest)
    decoder = Decoder(source.decodings, size)
    for first in range(0, len(picks.samples), size):
        yield from do_task(decoder, make_task(source, picks.at(slice(first, first + size)), first, seed))


def _kind(source: Source) -> tuple[str, tuple[int, ...]]:
    return source.name, source.shape
