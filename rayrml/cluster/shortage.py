"""What a run waits for on a cluster that lacks resources, or whose other jobs use them: Ray waits without a word."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import ray
import ray.util

from rayrml.cluster import ray_internals
from rayrml.cluster.allocation import Allocation, list_resources, multiply
from rayrml.formatting import format_duration

_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_OF_START = 30.0
_SECONDS_OF_PATIENCE = 15.0  # tasks and actors take some of them to start


class Shortage:
    """Reports, once each time, that the minimum number of workers has to wait: for nodes, or for other jobs.

    It reports, too, that workers take long to start.
    """

    def __init__(self, allocation: Allocation, say: Callable[[str], None]):
        self._per_worker = allocation.resources_per_worker
        self._num_workers = allocation.least_workers
        self._say = say
        self._start = StartOfWorkers(say)
        self._told = ""
        self._looked = time.monotonic()

    def look(self, *, heard: bool) -> None:
        """Check the cluster, unless the last check was recent; `heard`: whether a worker has just sent a message."""
        self._start.look(heard=heard, lacking=bool(self._told))
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        total, free = ray.cluster_resources(), ray.available_resources()
        lines = {
            "nodes": lacking_nodes(self._num_workers, self._per_worker, total),
            "resources": lacking_resources(self._num_workers, self._per_worker, total, free),
        }
        lacking = "nodes" if lines["nodes"] else "resources" if lines["resources"] and self._is_pending() else ""
        if lacking and lacking != self._told:
            self._say(lines[lacking] or "")
        elif self._told and not lacking:
            self._say(f"The {self._told} are available")
        self._told = lacking

    def _is_pending(self) -> bool:
        """Whether Ray has no place yet for workers like this run's."""
        wanted = {name: count for name, count in self._per_worker.items() if count}.items()
        pending = (group for group in ray.util.placement_group_table().values() if group["state"] == "PENDING")
        return any(all(wanted <= bundle.items() for bundle in group["bundles"].values()) for group in pending)


class StartOfWorkers:
    """Reports every half minute that the workers have not been heard of yet, and what they are doing until then.

    Usually they start within that time; on a busy machine it takes minutes.

    Args:
        say: receives the sentences.
        interval: seconds between them.
    """

    def __init__(self, say: Callable[[str], None], interval: float = _SECONDS_OF_START):
        self._say = say
        self._interval = interval
        self._began = self._told = time.monotonic()
        self._heard = False

    def look(self, *, heard: bool, lacking: bool) -> None:
        """Report, if it is time.

        Args:
            heard: whether a message of a worker has just come, which ends the reports.
            lacking: whether it was reported that workers wait for resources, which is the reason then.
        """
        self._heard = self._heard or heard
        now = time.monotonic()
        if self._heard or lacking or now - self._told < self._interval:
            return
        self._told = now
        waited = format_duration(now - self._began)
        self._say(f"Still starting the workers ({waited}): their processes load PyTorch, the network and the samples")


def lacking_nodes(num_workers: int, per_worker: Mapping[str, float], total: Mapping[str, float]) -> str | None:
    """The sentence for a cluster that is too small for the workers, None if it is not."""
    needed = multiply(per_worker, num_workers)
    if all(total.get(name, 0.0) >= count for name, count in needed.items()):
        return None
    return f"Waiting for nodes: {_need(num_workers, needed)}, the cluster has {list_resources(total, needed)}"


def lacking_resources(
    num_workers: int, per_worker: Mapping[str, float], total: Mapping[str, float], free: Mapping[str, float]
) -> str | None:
    """The sentence for a cluster whose resources are in use by others, None if enough of them are free."""
    needed = multiply(per_worker, num_workers)
    if all(free.get(name, 0.0) >= count for name, count in needed.items()):
        return None
    has = f"{list_resources(free, needed)} of the cluster's {list_resources(total, needed)} are free"
    return f"Waiting for resources that others use: {_need(num_workers, needed)}, {has}"


def lacking_cpus(cpus: float, free: Mapping[str, Mapping[str, float]]) -> str | None:
    """The sentence for a cluster where no node has so many CPUs free for decoding, None if one has.

    `free` is what each node has free.
    """
    most = max((node.get("CPU", 0.0) for node in free.values()), default=0.0)
    if most >= cpus:
        return None
    cure = "Fewer workers, or fewer CPUs for each of them (ray.resources_per_worker), leave room for it"
    return f"Waiting for CPUs: decoding needs {cpus:g} on one machine, at most {most:g} are free. {cure}"


def _need(num_workers: int, needed: Mapping[str, float]) -> str:
    return f"{num_workers} worker{' needs' if num_workers == 1 else 's need'} {list_resources(needed)}"


@contextlib.contextmanager
def waiting_for_cpus(cpus: float, say: Callable[[str], None]) -> Iterator[None]:
    """A block that waits for tasks with so many CPUs: `say` is told once, from another thread, if no node has them.

    If a node has them when the block begins, the tasks run, and it is they that use the CPUs later.
    """
    with _watched(lambda: lacking_cpus(cpus, ray_internals.free_resources()), say, lacking_at_first=True):
        yield


@contextlib.contextmanager
def waiting_for_actors(count: int, each: Mapping[str, float], say: Callable[[str], None]) -> Iterator[None]:
    """The same for a block that waits for this many actors with `each` these resources."""

    def describe() -> str | None:
        total = ray.cluster_resources()
        return lacking_nodes(count, each, total) or lacking_resources(count, each, total, ray.available_resources())

    with _watched(describe, say):
        yield


@contextlib.contextmanager
def _watched(
    describe: Callable[[], str | None], say: Callable[[str], None], *, lacking_at_first: bool = False
) -> Iterator[None]:
    """A block: if it lasts long, `say` is told once what `describe` returns, as soon as it returns something.

    With `lacking_at_first`, only if it returned something when the block began.
    """
    over = threading.Event()

    def watch() -> None:
        if lacking_at_first and describe() is None:
            return
        patience = _SECONDS_OF_PATIENCE
        while not over.wait(patience):
            if (text := describe()) is not None:
                say(text)
                return
            patience = _SECONDS_BETWEEN_LOOKS

    def watch_until_ray_ends() -> None:
        with contextlib.suppress(Exception):  # a run that is interrupted ends Ray while the block waits
            watch()

    threading.Thread(target=watch_until_ray_ends, daemon=True).start()
    try:
        yield
    finally:
        over.set()
