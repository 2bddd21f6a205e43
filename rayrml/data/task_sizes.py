"""How samples are divided into decoding tasks: by the time that a task takes, however large the cluster is.

A task costs Ray some hundredths of a second. A cluster has CPUs in proportion to its workers, so none of them divides
its samples by the CPUs of all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

BLOCK_BYTES = 16 * 2**20  # of decoded samples: small enough for the object store, large enough to be worth a task
_SECONDS, _FEWEST_SECONDS, _FIRST_SECONDS = 0.5, 0.25, 0.1  # of work in a task, unless samples are few
_MOST_BLOCKS = 16  # per task
_BLOCKS_OF_STORE = 8  # some are written while others are read
_FIRST_WINDOW, LARGEST_WINDOW = 64, 1024  # tasks that are described to Ray at once, which takes 1 ms each

Window = list[tuple[int, int]]  # the begin and the end of each task's samples


class Portion(NamedTuple):
    """What one process uses of a cluster, if several share it evenly.

    Attributes:
        num_cpus: logical CPUs, at least 1.
        store_bytes: of the object stores of all nodes.
        smallest_store: bytes of the smallest object store of a node, into which blocks must fit.
    """

    num_cpus: int
    store_bytes: int
    smallest_store: int

    @property
    def first_window(self) -> int:
        """How many tasks are described to Ray before the first sample: several for each CPU, if that is soon done."""
        return min(max(_FIRST_WINDOW, 4 * self.num_cpus), LARGEST_WINDOW)

    @property
    def ahead_bytes(self) -> int:
        """How many bytes of decoded samples tasks may be ahead of their consumer.

        A block that is read is in two stores, if the reader is on another node, and blocks are not evenly spread; Ray
        spills a store to disk that is filled to four fifths.
        """
        wanted = (2 * self.num_cpus + 4) * BLOCK_BYTES
        return max(min(wanted, self.store_bytes // 4), 2 * BLOCK_BYTES)


def divide_cluster(nodes: Iterable[Mapping[str, Any]], num_sharing: int) -> Portion:
    """The portion of each of `num_sharing` processes of a cluster with these nodes, as `ray.nodes` tells them."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = sum(resources.get("CPU", 0) for resources in alive)
    stores = [int(size) for resources in alive if (size := resources.get("object_store_memory", 0))]
    stores = stores or [BLOCK_BYTES * _BLOCKS_OF_STORE]
    return Portion(max(int(cpus / num_sharing), 1), sum(stores) // num_sharing, min(stores))


def block_size(bytes_per_sample: int, smallest: int, portion: Portion) -> int:
    """The largest number of samples in a block: at least `smallest`, unless that is too much for an object store.

    Blocks that do not fit into the store are spilled to disk, which takes seconds per block.
    """
    most = portion.smallest_store // _BLOCKS_OF_STORE // bytes_per_sample
    return max(min(max(BLOCK_BYTES // bytes_per_sample, smallest), most), 1)


def sizes_in_order(count: int, seconds: float, portion: Portion, *, smallest: int, most: int) -> Iterator[int]:
    """The samples of each task, if the consumer uses samples as they arrive; the sizes go on for ever.

    There are several tasks for each CPU, unless they would be too short. The first ones are short, because the consumer
    is waiting for them.

    Args:
        count: how many samples there are.
        seconds: estimated time for each of them.
        portion: what they are decoded with.
        smallest: smallest number of samples in a task.
        most: largest number of samples in a block, of which a task has one.
    """
    even = max(-(-count // (4 * portion.num_cpus)), _in_seconds(_FEWEST_SECONDS, seconds))
    size = min(max(min(even, _in_seconds(_SECONDS, seconds)), smallest), most)
    short = max(min(max(size // 4, _in_seconds(_FIRST_SECONDS, seconds)), size), smallest)
    return itertools.chain(itertools.repeat(short, 2 * portion.num_cpus), itertools.repeat(size))


def sizes_at_once(count: int, seconds: float, portion: Portion, *, smallest: int, most: int) -> Iterator[int]:
    """The same if the consumer waits for all samples before it does anything else: tasks have several blocks.

    They deliver blocks as they finish them, and there is a pause between two tasks.
    """
    even = max(-(-count // portion.num_cpus), _in_seconds(_FEWEST_SECONDS, seconds))
    return itertools.repeat(max(min(even, _MOST_BLOCKS * most), smallest))


def sizes_of_actors(count: int, num_actors: int, portion: Portion, *, smallest: int, most: int) -> Iterator[int]:
    """The same for actors that decode and compute: several tasks for each CPU, and each actor that may come."""
    even = -(-count // (4 * max(portion.num_cpus, num_actors)))
    return itertools.repeat(max(min(even, _MOST_BLOCKS * most), smallest))


def windows(count: int, sizes: Iterator[int], first: int = LARGEST_WINDOW) -> Iterator[Window]:
    """Tasks for so many samples, in windows of as many tasks as are described to Ray at once; `first` in the first."""
    begin, limit = 0, first
    while begin < count:
        tasks: Window = []
        while begin < count and len(tasks) < limit:
            end = min(begin + next(sizes), count)
            tasks.append((begin, end))
            begin = end
        yield tasks
        limit = min(2 * limit, LARGEST_WINDOW)


def _in_seconds(limit: float, seconds: float) -> int:
    """How many samples can be decoded in so much time, if each takes `seconds`; at least one."""
    return max(math.floor(limit / max(seconds, 1e-6)), 1)
