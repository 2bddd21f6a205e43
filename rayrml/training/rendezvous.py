"""How training workers of a private Ray find each other: through a file and the loopback interface.

torch's default rendezvous, a server on the first worker, listens on all of a machine's interfaces.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch.distributed
from ray.train.torch import TorchConfig

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@dataclasses.dataclass
class OneMachine(TorchConfig):
    """Ray Train's torch settings for workers that all run on this machine.

    Attributes:
        folder: of the file through which they meet; it is deleted with the run.
    """

    folder: str = ""

    @property
    def backend_cls(self) -> Any:
        """The class that prepares the workers."""
        return _ByFile


class _ByFile(TorchConfig().backend_cls):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        # A new file each time: restarted workers must not meet their predecessors.
        path = Path(backend_config.folder) / f"workers-{uuid.uuid4().hex}"
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo"
        size, seconds = len(worker_group), backend_config.timeout_s
        asked = {"path": str(path), "size": size, "backend": backend, "seconds": seconds}
        ray.get([worker_group.execute_single_async(rank, _join, number=rank, **asked) for rank in range(size)])


def _join(*, number: int, path: str, size: int, backend: str, seconds: float) -> None:
    for name in _VARIABLES:
        if sys.platform in _LOOPBACK:
            os.environ.setdefault(name, _LOOPBACK[sys.platform])
    context = ray.train.get_context()
    places = {"RANK": number, "WORLD_SIZE": size}
    places |= {"LOCAL_RANK": context.get_local_rank(), "LOCAL_WORLD_SIZE": context.get_local_world_size()}
    os.environ |= {name: str(number) for name, number in places.items()}
    timeout = datetime.timedelta(seconds=seconds)
    # Not as a URL: torch does not decode one, so that workers wait for each other where a folder has a space.
    store = torch.distributed.FileStore(path, size)  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)
