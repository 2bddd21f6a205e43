"""How training workers find each other and become one group of torch.

Ray Train's own settings for torch would have its controller, the process that starts the workers, import torch, which
takes seconds before any worker exists. Only the workers need it.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import ray
import ray.exceptions
import ray.train
import ray.util
from ray.train.backend import Backend, BackendConfig

from rayrml.errors import ClusterError, Problem
from rayrml.training.termination import TERMINATION

NETWORK_HINT = (
    "Expected nodes that reach one another: name the network between them in `ray.interface`, open all ports between "
    "nodes in the firewall, or set a larger `ray.timeout_s`"
)
_VARIABLES = {"GLOO_SOCKET_IFNAME": "", "NCCL_SOCKET_IFNAME": "="}  # NCCL takes a name for the start of one without =
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_SECONDS_TO_LEAVE = 30.0
_SECONDS_TO_FAIL = 15.0  # for the other workers, once one has given up
_OF_NETWORK = re.compile(
    r"tim(ed|e)?[ -]?out|no route to host|network is unreachable|connection refused|unable to find address for"
    r"|socketStartConnect|no socket interface",
    re.IGNORECASE,
)


@dataclasses.dataclass
class Rendezvous(BackendConfig):
    """Ray Train's settings for workers that form one group of torch.

    Attributes:
        backend: of torch; Ray Train sets it to the one for the workers' devices.
        folder: if all workers run on this machine, the folder of the file through which they meet, which is deleted
            with the run. They then use the loopback interface: torch's default rendezvous, a server on the first
            worker, listens on all of a machine's interfaces.
        seconds: how long workers wait for each other.
        interface: the network interface through which they exchange tensors, None for any.
    """

    backend: str | None = None
    folder: str | None = None
    seconds: float = 1800.0
    interface: str | None = None

    @property
    def backend_cls(self) -> Any:
        """The class that prepares the workers."""
        return _Torch

    @property
    def train_func_context(self) -> Any:
        """What each worker's loop runs in; it selects the worker's GPU."""
        from ray.train.torch import TorchConfig

        return TorchConfig().train_func_context


class _Torch(Backend):
    """Runs in Ray Train's controller. All functions that it has workers execute are below."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        size = len(worker_group)
        asked = {"size": size, "backend": backend_config.backend, "seconds": backend_config.seconds}
        if backend_config.interface is not None:
            places = ray.get([worker_group.execute_single_async(rank, _look_around) for rank in range(size)])
            check_interface(backend_config.interface, places)
            asked["interface"] = backend_config.interface
        if backend_config.folder is None:
            asked["address"] = worker_group.execute_single(0, _offer_address)
        else:
            # A new file each time: restarted workers must not meet their predecessors.
            asked["path"] = str(Path(backend_config.folder) / f"workers-{uuid.uuid4().hex}")
        joining = [worker_group.execute_single_async(rank, _join, number=rank, **asked) for rank in range(size)]
        _wait_for_all(joining, worker_group, backend_config)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        left = [worker_group.execute_single_async(rank, _leave) for rank in range(len(worker_group))]
        ray.wait(left, num_returns=len(left), timeout=_SECONDS_TO_LEAVE)


class _Node(NamedTuple):
    """Where a worker is: the node's name and address, and the addresses of its network interfaces."""

    name: str
    address: str
    interfaces: Mapping[str, Sequence[str]]


def _look_around() -> _Node:
    """The node of this process."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = {
        name: [each.address for each in addresses if each.family in families]
        for name, addresses in psutil.net_if_addrs().items()
    }
    return _Node(socket.gethostname(), ray.util.get_node_ip_address(), found)


def check_interface(interface: str, nodes: Sequence[_Node]) -> None:
    """Raise ClusterError unless each worker's node has the interface, and it leads to the other nodes."""
    for node in nodes:
        if not node.interfaces.get(interface):
            has = "has no network interface" if interface not in node.interfaces else "has no address at"
            known = ", ".join(f"{name} ({found[0]})" for name, found in node.interfaces.items() if found)
            message = f"node {node.name} ({node.address}) {has} '{interface}'. Its interfaces: {known or 'none'}"
            raise ClusterError(Problem("ray.interface", message))
    machines = {(node.name, node.address) for node in nodes}
    loopback = all(address.startswith(("127.", "::1")) for node in nodes for address in node.interfaces[interface])
    if loopback and len(machines) > 1:
        message = f"'{interface}' connects a node with itself alone, but the workers are on {len(machines)} nodes"
        raise ClusterError(Problem("ray.interface", f"{message}. Expected the interface of the network between them"))


def is_of_network(reason: str) -> bool:
    """Whether the text of an error says that processes do not reach one another."""
    return _OF_NETWORK.search(reason) is not None


def _wait_for_all(joining: Sequence[Any], worker_group: Any, config: Rendezvous) -> None:
    """Wait until all workers have met.

    Raises:
        ClusterError: they do not reach one another.
        ray.exceptions.RayError: a worker was lost, or its own error.
    """
    waiting = list(joining)
    end = None
    failures: dict[int, ray.exceptions.RayError] = {}
    while waiting and (end is None or time.monotonic() < end):
        ready, waiting = ray.wait(waiting, timeout=None if end is None else max(end - time.monotonic(), 0.1))
        for each in ready:
            try:
                ray.get(each)
            except ray.exceptions.RayError as error:
                if not is_of_network(str(error)):
                    raise  # a lost worker is the reason for what the others report
                failures[joining.index(each)] = error
                end = end or time.monotonic() + _SECONDS_TO_FAIL
    if failures:
        raise ClusterError(_describe(failures, worker_group, config))


def _describe(failures: Mapping[int, BaseException], worker_group: Any, config: Rendezvous) -> str:
    """What to tell people whose workers did not meet."""
    asked = {rank: worker_group.execute_single_async(rank, _look_around) for rank in range(len(worker_group))}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_SECONDS_TO_FAIL)
    places: dict[str, list[int]] = {}
    for rank, answer in asked.items():
        try:
            node: Any = ray.get(answer, timeout=0)
            places.setdefault(f"node {node.name} ({node.address})", []).append(rank)
        except ray.exceptions.RayError:
            places.setdefault("a node that does not answer", []).append(rank)
    where = "; ".join(f"{', '.join(map(str, ranks))} on {place}" for place, ranks in places.items())
    rank = min(failures)
    reason = next(line for line in reversed(str(failures[rank]).strip().splitlines()) if line.strip()).strip()
    through = "" if config.interface is None else f" through the interface '{config.interface}'"
    first = f"the workers could not connect to one another{through} within {config.seconds:g} s"
    return f"{first}. Workers: {where}. Worker {rank} reports: {reason.rstrip('.')}. {NETWORK_HINT}"


def _offer_address() -> tuple[str, int]:
    """This node's address and a free port for the workers' rendezvous."""
    address = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as held:
        held.bind(("", 0))
        return address, held.getsockname()[1]


def _join(
    *,
    number: int,
    size: int,
    backend: str,
    seconds: float,
    path: str | None = None,
    address: tuple[str, int] | None = None,
    interface: str | None = None,
) -> None:
    import torch.distributed

    TERMINATION.listen()  # here, in the main thread: the workers' loop has one of its own
    context = ray.train.get_context()
    places = {"RANK": number, "WORLD_SIZE": size, "NODE_RANK": context.get_node_rank()}
    places |= {"LOCAL_RANK": context.get_local_rank(), "LOCAL_WORLD_SIZE": context.get_local_world_size()}
    os.environ |= {name: str(place) for name, place in places.items()}
    how: dict[str, Any] = {"rank": number, "world_size": size, "timeout": datetime.timedelta(seconds=seconds)}
    if interface is not None:
        os.environ |= {name: f"{sign}{interface}" for name, sign in _VARIABLES.items()}
    if path is not None:
        for name in _VARIABLES:
            if sys.platform in _LOOPBACK:
                os.environ.setdefault(name, _LOOPBACK[sys.platform])
        # Not as a URL: torch does not decode one, so that workers wait for each other where a folder has a space.
        how["store"] = torch.distributed.FileStore(path, size)  # pyright: ignore[reportPrivateImportUsage]
    elif address is not None:
        os.environ |= {"MASTER_ADDR": address[0], "MASTER_PORT": str(address[1])}
    torch.distributed.init_process_group(backend, **how)


def _leave() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
