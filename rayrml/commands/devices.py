"""The option `--device`, decided before torch and Ray are imported."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from rayrml.errors import ConfigError, Problem

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_PATIENCE = 20  # seconds; a driver that is just loading takes several


def choose_device(name: str, address: str | None = None) -> bool:
    """Whether workers use GPUs on this device; of several GPUs, only the named one is visible from now on.

    Args:
        name: `cpu`, `cuda` or `cuda:N`, whose numbers count the GPUs that are visible so far.
        address: of the cluster that the run connects to, None for a private Ray.

    Raises:
        ConfigError: there is no such device, or it cannot be chosen on a cluster.
    """
    kind, colon, number = name.partition(":")
    if kind == "cuda" and (number.isdecimal() or not colon):
        if number and address is not None:
            raise _refusal(f"'{name}' is a GPU of this machine, but the cluster at {address} gives workers their GPUs")
        if number:
            os.environ[_VISIBLE] = _find_gpu(name, int(number))
        return True
    if name == "cpu":
        return False
    if kind == "mps":
        raise _refusal("Apple's GPUs are not used: they lack the 64-bit floats in which figures are added up")
    raise _refusal(f"unknown device '{name}'")


def _refusal(message: str) -> ConfigError:
    return ConfigError(Problem("--device", f"{message}. Expected cpu, cuda, or cuda:0 and so on"))


def _find_gpu(name: str, number: int) -> str:
    """What CUDA calls the GPU with this number. Raises ConfigError if there is none."""
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        count, whose = _count_gpus(), "this machine has"
        gpus = None if count is None else list(map(str, range(count)))
    else:
        gpus, whose = [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")], f"{_VISIBLE} names"
    if gpus is None:
        return str(number)  # Ray tells if this machine has no GPU
    if number >= len(gpus):
        raise _refusal(f"there is no '{name}': {whose} {len(gpus) or 'no'} GPU{'s' * (len(gpus) != 1)}")
    return gpus[number]


def _count_gpus() -> int | None:
    """The number of NVIDIA's GPUs in this machine, None if nothing tells."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        return len(listed.stdout.splitlines())
    except (OSError, subprocess.SubprocessError):
        return len(list(_DRIVER.iterdir())) if _DRIVER.is_dir() else None
