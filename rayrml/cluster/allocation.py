"""The part of a cluster that a run takes: its workers, their resources, and what remains for decoding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from rayrml.cluster.capacity import ACCELERATOR_PREFIX, Capacity, add_up
from rayrml.config.cluster import Ray
from rayrml.errors import ClusterError, ConfigError, Problem

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
        seconds: how long workers wait for one another.
        interface: the network interface through which they exchange gradients, None for any.
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
    seconds: float = 1800.0
    interface: str | None = None

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
        ConfigError: with `resources_per_worker`, the workers take all CPUs.
        ClusterError: the cluster has no CPU, or can never provide what was requested.
    """
    now = add_up(nodes)
    planned = _planned_capacity(config, now, limit) if attached else now
    cpus, gpus = planned.total.get("CPU", 0.0), int(planned.total.get("GPU", 0.0))
    if cpus <= 0:
        raise ClusterError("the cluster has no CPU for tasks. Expected at least one (`ray start --num-cpus`)")
    use_gpu = gpus > 0 if config.use_gpu == "auto" else config.use_gpu
    if not attached:
        _refuse_what_is_not_here(config, now.total)
    num_workers = config.num_workers or (max(gpus, 1) if use_gpu else 1)
    asked = config.resources_per_worker or {}
    # The driver has read many variables of its environment already.
    in_driver = num_workers == 1 and len(nodes) == 1 and not (attached or asked or config.env_vars)
    least, most = bounds = _bounds(num_workers)
    wanted = {**({"GPU": 1} if use_gpu else {}), **asked}
    if "CPU" in asked:
        decode_cpus = _room_for_decoding(planned, bounds, wanted, private=not attached, grows=limit is not None)
        per_worker = wanted
    else:
        share = max(min(1.0, math.floor(500 * cpus / most) / 1000), 0.001)
        decode_cpus = 1.0 if share == 1.0 else 0.5
        per_worker = {"CPU": share, **wanted}
    needed = multiply(per_worker, least)
    if limit is not None and not planned.suffices(needed):
        message = f"{least} workers need {list_resources(needed)}, but the cluster can have at most"
        raise ClusterError(Problem("ray.num_workers", f"{message} {list_resources(planned.total, needed)}"))
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
        seconds=config.timeout_s,
        interface=config.interface,
    )


def _refuse_what_is_not_here(config: Ray, total: Mapping[str, float]) -> None:
    """Raise ClusterError if this machine, with these resources in `total`, lacks the GPUs that are asked for."""
    if config.use_gpu is True and total.get("GPU", 0.0) < 1:
        raise ClusterError(Problem("ray.use_gpu", "this machine has no GPU"))
    wanted = config.accelerator_type
    if wanted is not None and not total.get(f"{ACCELERATOR_PREFIX}{wanted}"):
        there = sorted(name.removeprefix(ACCELERATOR_PREFIX) for name in total if name.startswith(ACCELERATOR_PREFIX))
        message = (
            f"this machine has no {wanted}. Its GPUs are of type {' and '.join(there)}"
            if there
            else (f"this machine has no GPU of type {wanted}, as far as Ray knows")
        )
        raise ClusterError(Problem("ray.accelerator_type", message))


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


def _room_for_decoding(
    planned: Capacity, num_workers: tuple[int, int], per_worker: Mapping[str, float], *, private: bool, grows: bool
) -> float:
    """Logical CPUs that are left for a decoding task, wherever the workers are. Raises ConfigError if none are.

    A cluster that lacks the resources even for the smallest number of workers waits for nodes, which may have more.
    """
    least, most = num_workers
    asked, cpus = per_worker["CPU"], planned.total["CPU"]
    left = max(cpus_left(node, most, per_worker) for node in planned.nodes)
    if left >= _LEAST_FOR_DECODING:
        return min(1.0, round(left, 3))
    places = sum(_places(node, most, per_worker) for node in ([planned.total] if grows else planned.nodes))
    if private or least <= places <= most:
        message = (
            f"{min(most, places) or most} workers with {asked:g} CPUs each leave none of {cpus:g} for decoding. "
            f"Expected at most {math.floor(900 * cpus / most) / 1000:g} each"
        )
        fewer = f", or at most {places - 1} worker{'s' * (places > 2)}" if places > 1 else ""
        raise ConfigError(Problem("ray.resources_per_worker.CPU", f"{message}{fewer}"))
    return min(1.0, asked)  # the place of one more worker


def cpus_left(node: Mapping[str, float], num_workers: int, per_worker: Mapping[str, float]) -> float:
    """The CPUs that remain on a node with as many workers as fit there."""
    return node.get("CPU", 0.0) - per_worker["CPU"] * min(_places(node, num_workers, per_worker), num_workers)


def _places(node: Mapping[str, float], otherwise: int, per_worker: Mapping[str, float]) -> int:
    """The number of workers that a node has resources for; `otherwise` if they need none."""
    return math.floor(min((node.get(name, 0.0) / n for name, n in per_worker.items() if n), default=otherwise) + 1e-9)


def _bounds(num_workers: int | tuple[int, int]) -> tuple[int, int]:
    """The smallest and the largest number of workers."""
    return (num_workers, num_workers) if isinstance(num_workers, int) else num_workers


def multiply(resources: Mapping[str, float], count: int) -> dict[str, float]:
    """The resources of `count` workers that need these each."""
    return {name: amount * count for name, amount in resources.items()}


def list_resources(resources: Mapping[str, float], names: Iterable[str] | None = None) -> str:
    """`8 CPU and 1 GPU`; only those with these `names` if they are given, including missing ones."""
    return " and ".join(f"{resources.get(name, 0.0):g} {name}" for name in names or resources)
