"""How training workers find each other and become one group of torch.

Ray Train's own settings for torch would have its controller, the process that starts the workers, import torch, which
takes seconds before any worker exists. Only the workers need it.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.util
from ray.train.backend import Backend, BackendConfig

from rayrml.training.termination import TERMINATION

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_SECONDS_TO_LEAVE = 30.0


@dataclasses.dataclass
class Rendezvous(BackendConfig):
    """Ray Train's settings for workers that form one group of torch.

    Attributes:
        backend: of torch; Ray Train sets it to the one for the workers' devices.
        folder: if all workers run on this machine, the folder of the file through which they meet, which is deleted
            with the run. They then use the loopback interface: torch's default rendezvous, a server on the first
            worker, listens on all of a machine's interfaces.
        seconds: how long workers wait for each other.
    """

    backend: str | None = None
    folder: str | None = None
    seconds: float = 1800.0

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
        if backend_config.folder is None:
            asked["address"] = worker_group.execute_single(0, _offer_address)
        else:
            # A new file each time: restarted workers must not meet their predecessors.
            asked["path"] = str(Path(backend_config.folder) / f"workers-{uuid.uuid4().hex}")
        ray.get([worker_group.execute_single_async(rank, _join, number=rank, **asked) for rank in range(size)])

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        left = [worker_group.execute_single_async(rank, _leave) for rank in range(len(worker_group))]
        ray.wait(left, num_returns=len(left), timeout=_SECONDS_TO_LEAVE)


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
) -> None:
    import torch.distributed

    TERMINATION.listen()  # here, in the main thread: the workers' loop has one of its own
    context = ray.train.get_context()
    places = {"RANK": number, "WORLD_SIZE": size, "NODE_RANK": context.get_node_rank()}
    places |= {"LOCAL_RANK": context.get_local_rank(), "LOCAL_WORLD_SIZE": context.get_local_world_size()}
    os.environ |= {name: str(place) for name, place in places.items()}
    how: dict[str, Any] = {"rank": number, "world_size": size, "timeout": datetime.timedelta(seconds=seconds)}
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
