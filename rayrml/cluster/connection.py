"""Ray: connecting to it, keeping it quiet, and deciding what part of it a run takes."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import ray

from rayrml.cluster import nodes
from rayrml.cluster.nodes import Capacity, capacity_of
from rayrml.config.sections import Ray
from rayrml.errors import ClusterError, ConfigError, Problem

_SECONDS_BETWEEN_LOOKS = 5.0


@dataclasses.dataclass(frozen=True)
class Allocation:
    """What a run takes of a cluster.

    Attributes:
        num_workers: training workers, or (min, max).
        in_driver: whether the one worker is the driver's own process.
        use_gpu: whether each worker has a GPU.
        resources_per_worker: Ray's logical resources of a worker.
        decode_cpus: logical CPUs of a task that decodes; there is always room for one beside the workers.
        num_nodes: machines of the cluster.
        one_machine: whether it has one machine, and will have no other.
        private: whether it is a Ray of this machine that was started for the run.
        verbose: whether Ray's own messages are wanted.
        placement_strategy: how workers are laid out over nodes.
        accelerator_type: the GPUs' type, None for any.
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
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def least_workers(self) -> int:
        """The smallest number of workers that the run can have."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def driver_device(self) -> str:
        """Where a worker that is the driver itself computes."""
        return "cuda" if self.use_gpu else "cpu"


@contextlib.contextmanager
def connected(config: Ray, *, verbose: bool = False) -> Iterator[Allocation]:
    """Connect to a cluster, or start a private one for the time being; yields what the run takes of it.

    A Ray that this process has initialized already is used, and left as it is.

    Raises:
        ClusterError: no cluster at the address, or it has not what the configuration asks for.
    """
    _set_patience(config.num_workers)
    if not verbose:
        quiet()
    ours = not ray.is_initialized()
    address = config.address or os.environ.get("RAY_ADDRESS")
    if ours:
        with _loopback(address), contextlib.nullcontext() if verbose or address is None else unheard():
            _initialize(address, verbose)
    try:
        if not verbose:
            _hide_raylets()
        attached = address is not None or not (ours or _started_here())
        if attached:
            nodes.keep_services_on_head()
        taken = allocate(config, nodes.resources(), attached=attached, limit=nodes.limit() if attached else None)
        yield dataclasses.replace(taken, private=ours and address is None, verbose=verbose)
    finally:
        if ours:
            ray.shutdown()


def _started_here() -> bool:
    """Whether the Ray that this process is connected to is one that it has started itself."""
    worker: Any = sys.modules.get("ray._private.worker")
    return bool(getattr(getattr(worker, "_global_node", None), "head", True))


def _set_patience(num_workers: int | tuple[int, int] | None) -> None:
    """How long Ray waits for room for the workers that it wants before it looks again what there is.

    When a node is lost, the first look still sees it: an elastic run would wait in vain for as many workers as before.
    One that must have all its workers has no reason to ask anew.
    """
    if os.environ.get(_PATIENCE, "") in ("", *_PATIENCES.values()):  # no other one is wished for
        os.environ[_PATIENCE] = _PATIENCES[isinstance(num_workers, tuple)]


class Shortage:
    """Tells, once each time, that the cluster has not what the least number of workers needs: they are waited for."""

    def __init__(self, allocation: Allocation, say: Callable[[str], None]):
        self._workers = allocation.least_workers
        self._needed = {name: count * self._workers for name, count in allocation.resources_per_worker.items()}
        self._say = say
        self._short = False
        self._looked = time.monotonic()

    def look(self) -> None:
        """Look at the cluster, if that was some time ago."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        there = ray.cluster_resources()
        short = any(there.get(name, 0.0) < count for name, count in self._needed.items())
        if short and not self._short:
            self._say(f"Waiting for nodes: {self._workers} workers need {_listed(self._needed)}, {self._there(there)}")
        elif self._short and not short:
            self._say("The nodes are there")
        self._short = short

    def _there(self, resources: Mapping[str, float]) -> str:
        return f"the cluster has {_listed({name: resources.get(name, 0.0) for name in self._needed})}"


def allocate(
    config: Ray,
    there: Sequence[Mapping[str, float]],
    *,
    attached: bool,
    limit: Capacity | None = None,
) -> Allocation:
    """The part of a cluster that a run takes, `there` being the resources of its nodes; it may grow to the `limit`.

    Workers together never take all CPUs: tasks that decode would wait for them for ever, and they for the tasks.

    Raises:
        ConfigError: `resources_per_worker` leaves no CPU for decoding.
        ClusterError: the cluster has no CPU, or can never have what is asked for.
    """
    num_nodes = len(there)
    now = capacity_of(there)
    planned = _planned(config, now, limit) if attached else now
    cpus, gpus = planned.total.get("CPU", 0.0), int(planned.total.get("GPU", 0.0))
    if cpus <= 0:
        raise ClusterError("the cluster has no CPU for tasks. Expected one at least (`ray start --num-cpus`)")
    use_gpu = gpus > 0 if config.use_gpu == "auto" else config.use_gpu
    if use_gpu and not gpus and not attached:
        raise ClusterError(Problem("ray.use_gpu", "there is no GPU on this machine"))
    num_workers = config.num_workers or (max(gpus, 1) if use_gpu else 1)
    in_driver = num_workers == 1 and num_nodes == 1 and not attached and not config.resources_per_worker
    most = num_workers if isinstance(num_workers, int) else num_workers[1]
    share, decode = _cpu_shares(planned, most, config.resources_per_worker or {}, fixed=not attached)
    wanted = {"CPU": share, **({"GPU": 1} if use_gpu else {}), **(config.resources_per_worker or {})}
    least = num_workers if isinstance(num_workers, int) else num_workers[0]
    needed = {name: count * least for name, count in wanted.items()}
    if limit is not None and not planned.suffices(needed):
        can_have = _listed({name: planned.total.get(name, 0.0) for name in needed})
        message = f"{least} workers need {_listed(needed)}, but the cluster can have {can_have} at most"
        raise ClusterError(Problem("ray.num_workers", message))
    may_grow = limit is not None or num_workers != least or not now.suffices(needed)
    return Allocation(
        num_workers=num_workers,
        in_driver=in_driver,
        use_gpu=use_gpu,
        resources_per_worker=wanted,
        decode_cpus=min(1.0, cpus) if in_driver else decode,
        num_nodes=num_nodes,
        one_machine=num_nodes == 1 and not (attached and may_grow),
        placement_strategy=config.placement_strategy,
        accelerator_type=config.accelerator_type,
    )


def _planned(config: Ray, now: Capacity, limit: Capacity | None) -> Capacity:
    """What to plan with: what is there now, or all that may come, if that is more."""
    if limit is not None:
        total = {name: max(count, now.total.get(name, 0.0)) for name, count in limit.total.items()}
        return now if now.suffices(total) else Capacity(total, [*now.nodes, *limit.nodes])
    if now.total.get("CPU", 0.0):
        return now
    # Some clusters do not say what they can have. Workers and tasks that ask for little find room on any node.
    workers = config.num_workers or 1
    count = float(workers if isinstance(workers, int) else workers[1])
    return capacity_of([{"CPU": count, "GPU": count if config.use_gpu is True else 0.0}])


def _cpu_shares(planned: Capacity, workers: int, wanted: Mapping[str, float], *, fixed: bool) -> tuple[float, float]:
    """Logical CPUs of a worker and of a decoding task, such that one task runs beside all workers."""
    cpus = planned.total["CPU"]
    if "CPU" in wanted:
        left = max(left_beside(node, workers, wanted) for node in planned.nodes)
        if left < 0.1 and fixed:
            message = (
                f"{workers} workers of {wanted['CPU']:g} CPUs leave none of {cpus:g} for decoding. "
                f"Expected at most {math.floor(900 * cpus / workers) / 1000:g} each"
            )
            raise ConfigError(Problem("ray.resources_per_worker.CPU", message))
        return wanted["CPU"], min(1.0, round(left, 3)) if left >= 0.1 else 1.0
    share = min(1.0, math.floor(500 * cpus / workers) / 1000)
    return max(share, 0.001), 1.0 if share == 1.0 else 0.5


def left_beside(node: Mapping[str, float], workers: int, wanted: Mapping[str, float]) -> float:
    """The CPUs of a node that are left beside as many workers as find room there."""
    room = min((node.get(name, 0.0) / count for name, count in wanted.items() if count), default=workers)
    return node.get("CPU", 0.0) - wanted["CPU"] * min(math.floor(room + 1e-9), workers)


def _listed(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{count:g} {name}" for name, count in resources.items())


def _initialize(address: str | None, verbose: bool) -> None:
    level = logging.INFO if verbose else logging.ERROR
    try:
        ray.init(
            # A private Ray must not be whatever other Ray happens to run on this machine.
            address=address or "local",
            logging_level=level,
            log_to_driver=verbose,
            runtime_env=None if verbose else {"env_vars": _QUIET},
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise unreachable(address, error) from None


def unreachable(address: str | None, error: Exception) -> ClusterError:
    """What to tell of a Ray that cannot be connected to, or started where there is no address."""
    place = f"the cluster at {address}" if address else "a private local Ray"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ClusterError(f"cannot start or reach {place}. {reason}{_token_hint(address)}")


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Hide what Ray's own library writes to the process's standard error in this block; what Python does is shown."""
    heard = os.dup(2)
    python, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    try:
        with os.fdopen(os.dup(heard), "w", buffering=1) as kept:
            if _is_standard_error(python):
                sys.stderr = kept
            os.dup2(nowhere, 2)
            yield
    finally:
        os.dup2(heard, 2)
        sys.stderr = python
        os.close(heard)
        os.close(nowhere)


def _is_standard_error(stream: Any) -> bool:
    with contextlib.suppress(OSError, AttributeError, ValueError):  # no file at all, as in a notebook
        return stream.fileno() == 2
    return False


@contextlib.contextmanager
def _loopback(address: str | None) -> Iterator[None]:
    """Let a private Ray listen to this machine alone, as Ray does by itself on other systems than Linux."""
    constants: Any = sys.modules.get("ray._private.ray_constants")
    before = (os.environ.get(_CLUSTERS), getattr(constants, "ENABLE_RAY_CLUSTER", None))
    if address is None and before[0] is None:
        os.environ[_CLUSTERS] = "0"
        if before[1] is not None:
            constants.ENABLE_RAY_CLUSTER = False  # Ray read the variable when it was imported
    try:
        yield
    finally:
        if before[0] is None:
            os.environ.pop(_CLUSTERS, None)
        if before[1] is not None:
            constants.ENABLE_RAY_CLUSTER = before[1]


def _token_hint(address: str | None) -> str:
    if address and os.environ.get("RAY_AUTH_MODE") is None:
        return ". If the cluster uses token authentication: export RAY_AUTH_MODE=token"
    return ""


def _hide_raylets() -> None:
    """Do not let Ray print the last lines of a raylet's log whenever a machine is lost."""
    with contextlib.suppress(ImportError):
        worker: Any = importlib.import_module("ray._private.worker")
        worker.print_to_stdstream = lambda *arguments, **options: None


def quiet() -> None:
    """Turn Ray's own messages in this process, and in those that it starts, down to errors."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It is slow to import, and reads the variables when it is; another thread may just be importing it.
    if (context := getattr(sys.modules.get("ray.data"), "DataContext", None)) is not None:
        context.get_current().enable_progress_bars = False


_PATIENCE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_PATIENCES = {True: "15", False: "600"}  # seconds, by whether the run is elastic
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_QUIET = {"RAY_DATA_LOG_LEVEL": "ERROR", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
