"""The part of a cluster that a run takes: its workers, their resources, and what remains for decoding."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import ray

from rayrml.cluster.nodes import Capacity, add_up
from rayrml.config.sections import Ray
from rayrml.errors import ClusterError, ConfigError, Problem

_SECONDS_BETWEEN_LOOKS = 5.0
_LEAST_FOR_DECODING = 0.1  # logical CPUs


@dataclasses.dataclass(frozen=True)
class Allocation:
    """The part of a cluster that a run takes.

    Attributes:
        num_workers: number of training workers, or (min, max).
        in_driver: whether the only worker is the driver's own process.
        use_gpu: whether each worker has a GPU.
        resources_per_worker: Ray's logical resources of a worker.
        decode_cpus: logical CPUs of a decoding task; there is always room for one such task next to the workers.
        num_nodes: number of machines in the cluster.
        one_machine: whether the cluster has only one machine and cannot get others.
        private: whether this Ray was started for the run, on this machine only.
        verbose: whether to show Ray's own messages.
        placement_strategy: how workers are distributed over nodes.
        accelerator_type: type of the GPUs, None for any.
    """

    num_workers: int | tuple[int, int]
    in_driver: bool
    use_gpu: bool
    resources_per_worker: Mapping[str, float]
    decode_cpus: float
    num_nodes: int
    one_machine: bool = True
    private: bool = False
    verbose: bool = False
    placement_strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    accelerator_type: str | None = None

    @property
    def most_workers(self) -> int:
        """The largest number of workers that the run can have."""
        return _bounds(self.num_workers)[1]

    @property
    def least_workers(self) -> int:
        """The smallest number of workers that the run can have."""
        return _bounds(self.num_workers)[0]

    @property
    def driver_device(self) -> str:
        """The device of a worker that is the driver itself."""
        return "cuda" if self.use_gpu else "cpu"


def allocate(
    config: Ray, nodes: Sequence[Mapping[str, float]], *, attached: bool, limit: Capacity | None = None
) -> Allocation:
    """The part that a run takes of a cluster with these `nodes` (each node's resources), which may grow to the `limit`.

    Workers never take all CPUs: decoding tasks would wait for the workers forever, and the workers for the tasks.

    Raises:
        ConfigError: `resources_per_worker` leaves no CPU for decoding.
        ClusterError: the cluster has no CPU, or can never provide what was requested.
    """
    now = add_up(nodes)
    planned = _planned_capacity(config, now, limit) if attached else now
    cpus, gpus = planned.total.get("CPU", 0.0), int(planned.total.get("GPU", 0.0))
    if cpus <= 0:
        raise ClusterError("the cluster has no CPU for tasks. Expected at least one (`ray start --num-cpus`)")
    use_gpu = gpus > 0 if config.use_gpu == "auto" else config.use_gpu
    if use_gpu and not gpus and not attached:
        raise ClusterError(Problem("ray.use_gpu", "this machine has no GPU"))
    num_workers = config.num_workers or (max(gpus, 1) if use_gpu else 1)
    asked = config.resources_per_worker or {}
    in_driver = num_workers == 1 and len(nodes) == 1 and not attached and not asked
    least, most = _bounds(num_workers)
    worker_cpus, decode_cpus = _cpu_shares(planned, most, asked, fixed=not attached)
    per_worker = {"CPU": worker_cpus, **({"GPU": 1} if use_gpu else {}), **asked}
    needed = _times(per_worker, least)
    if limit is not None and not planned.suffices(needed):
        message = f"{least} workers need {_list(needed)}, but the cluster can have at most"
        raise ClusterError(Problem("ray.num_workers", f"{message} {_list_of(planned.total, needed)}"))
    may_grow = limit is not None or num_workers != least or not now.suffices(needed)
    return Allocation(
        num_workers=num_workers,
        in_driver=in_driver,
        use_gpu=use_gpu,
        resources_per_worker=per_worker,
        decode_cpus=min(1.0, cpus) if in_driver else decode_cpus,
        num_nodes=len(nodes),
        one_machine=len(nodes) == 1 and not (attached and may_grow),
        placement_strategy=config.placement_strategy,
        accelerator_type=config.accelerator_type,
    )


def _planned_capacity(config: Ray, now: Capacity, limit: Capacity | None) -> Capacity:
    """The capacity to plan with: the present one, or the largest possible one if that is more."""
    if limit is not None:
        total = {name: max(count, now.total.get(name, 0.0)) for name, count in limit.total.items()}
        return now if now.suffices(total) else Capacity(total, [*now.nodes, *limit.nodes])
    if now.total.get("CPU", 0.0):
        return now
    # Some clusters do not report their maximum. Workers and tasks that request little fit on any node.
    count = float(_bounds(config.num_workers or 1)[1])
    return add_up([{"CPU": count, "GPU": count if config.use_gpu is True else 0.0}])


def _cpu_shares(planned: Capacity, num_workers: int, asked: Mapping[str, float], *, fixed: bool) -> tuple[float, float]:
    """Logical CPUs of a worker and of a decoding task, such that one task can run next to all workers."""
    cpus = planned.total["CPU"]
    if "CPU" in asked:
        left = max(cpus_left(node, num_workers, asked) for node in planned.nodes)
        if left < _LEAST_FOR_DECODING and fixed:
            message = (
                f"{num_workers} workers with {asked['CPU']:g} CPUs each leave none of {cpus:g} for decoding. "
                f"Expected at most {math.floor(900 * cpus / num_workers) / 1000:g} each"
            )
            raise ConfigError(Problem("ray.resources_per_worker.CPU", message))
        return asked["CPU"], min(1.0, round(left, 3)) if left >= _LEAST_FOR_DECODING else 1.0
    share = min(1.0, math.floor(500 * cpus / num_workers) / 1000)
    return max(share, 0.001), 1.0 if share == 1.0 else 0.5


def cpus_left(node: Mapping[str, float], num_workers: int, per_worker: Mapping[str, float]) -> float:
    """The CPUs that remain on a node with as many workers as fit there."""
    room = min((node.get(name, 0.0) / count for name, count in per_worker.items() if count), default=num_workers)
    return node.get("CPU", 0.0) - per_worker["CPU"] * min(math.floor(room + 1e-9), num_workers)


class Shortage:
    """Reports, once each time, that the cluster lacks resources for the minimum number of workers, so the run waits."""

    def __init__(self, allocation: Allocation, say: Callable[[str], None]):
        self._num_workers = allocation.least_workers
        self._needed = _times(allocation.resources_per_worker, self._num_workers)
        self._say = say
        self._short = False
        self._looked = time.monotonic()

    def look(self) -> None:
        """Check the cluster, unless the last check was recent."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        total = ray.cluster_resources()
        short = any(total.get(name, 0.0) < count for name, count in self._needed.items())
        if short and not self._short:
            needed, has = _list(self._needed), _list_of(total, self._needed)
            self._say(f"Waiting for nodes: {self._num_workers} workers need {needed}, the cluster has {has}")
        elif self._short and not short:
            self._say("The nodes are available")
        self._short = short


def _bounds(num_workers: int | tuple[int, int]) -> tuple[int, int]:
    """The smallest and the largest number of workers."""
    return (num_workers, num_workers) if isinstance(num_workers, int) else num_workers


def _times(resources: Mapping[str, float], count: int) -> dict[str, float]:
    return {name: amount * count for name, amount in resources.items()}


def _list(resources: Mapping[str, float]) -> str:
    """`8 CPU and 1 GPU`."""
    return " and ".join(f"{count:g} {name}" for name, count in resources.items())


def _list_of(resources: Mapping[str, float], names: Mapping[str, float]) -> str:
    """The same for the resources with these `names`, including missing ones."""
    return _list({name: resources.get(name, 0.0) for name in names})
