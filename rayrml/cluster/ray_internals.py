"""The private parts of Ray that this package uses, and nothing else does: each function says what it works around.

A Ray that lacks one of them is used without it, because a run is better slow, or followed by messages, than impossible.
`tests/cluster/test_ray_internals.py` fails for each one that a new version of Ray drops or renames.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

HEAD_RESOURCE = "node:__internal_head__"  # which Ray gives to the head alone
ACCELERATOR_PREFIX = "accelerator_type:"  # of the resource that tells the type of a node's GPUs
START_TIMEOUT_VARIABLE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
JOB_STOP_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
# Ray Data reads them when it is imported, in each process.
QUIET_VARIABLES: Mapping[str, str] = {"RAY_DATA_LOG_LEVEL": "ERROR", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
SUBMISSION_LOGGERS = (
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_DATA_SERVICES = (
    ("ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator", "get_or_create_autoscaling_coordinator"),
    ("ray.data._internal.stats", "get_or_create_stats_actor"),
    ("ray.data._internal.usage.actor", "get_or_create_usage_collection_actor"),
)


def was_started_here() -> bool:
    """Whether the Ray that this process is connected to is one that it has started itself.

    Ray tells in public that it is initialized, not by whom.
    """
    worker: Any = sys.modules.get("ray._private.worker")
    return bool(getattr(getattr(worker, "_global_node", None), "head", True))


def is_client_connected() -> bool:
    """Whether this process is connected by Ray's client (`ray://`), which `ray.is_initialized` does not tell."""
    connection = getattr(sys.modules.get("ray.util.client"), "ray", None)
    return connection is not None and connection.is_connected()


def hide_raylet_logs() -> None:
    """Do not let Ray print the last lines of a raylet's log whenever a machine is lost; no setting turns that off."""
    with contextlib.suppress(ImportError):
        worker: Any = importlib.import_module("ray._private.worker")
        worker.print_to_stdstream = lambda *arguments, **options: None


@contextlib.contextmanager
def listen_on_loopback() -> Iterator[None]:
    """Let a Ray that is started in this block listen to this machine alone.

    Ray does so by itself on other systems than Linux, unless a variable says otherwise; there is no setting for Linux.
    A value of the variable that somebody has set is respected.
    """
    constants: Any = sys.modules.get("ray._private.ray_constants")
    wished, before = os.environ.get(_LOOPBACK_VARIABLE), getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if wished is not None:
        yield
        return
    os.environ[_LOOPBACK_VARIABLE] = "0"
    if before is not None:
        constants.ENABLE_RAY_CLUSTER = False  # Ray read the variable when it was imported
    try:
        yield
    finally:
        os.environ.pop(_LOOPBACK_VARIABLE, None)
        if before is not None:
            constants.ENABLE_RAY_CLUSTER = before


def start_data_services() -> None:
    """Start the actors that Ray Data shares between all runs on the node that this process runs on.

    Ray Data starts them where it is used first, without a choice, and they stay when the run has ended.
    """
    for module, function in _DATA_SERVICES:
        with contextlib.suppress(ImportError, AttributeError):
            getattr(importlib.import_module(module), function)()


def set_seconds_between_limits(seconds: float) -> None:
    """Let Ray Data look anew what its tasks may use after so many seconds.

    It asks what the cluster has without waiting for the answer, runs one task at a time until it has one, and looks for
    it once a second only, which no setting changes.
    """
    with contextlib.suppress(ImportError, AttributeError):
        manager: Any = importlib.import_module("ray.data._internal.execution.resource_manager").ResourceManager
        manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = seconds


def reported_maximum() -> Mapping[str, float] | None:
    """The most of each resource that the cluster has told Ray that it can have, None if it did not.

    Ray Train decides by it how many workers there may be, and does not say it.
    """
    with contextlib.suppress(ImportError, AttributeError):
        state: Any = importlib.import_module("ray._private.state").state
        return state.get_max_resources_from_cluster_config()
    return None


def read_launcher_file(gcs_port: str) -> Mapping[str, Any] | None:
    """The file that the autoscaler of the cluster at this port of this machine was given, None if there is none.

    The first autoscaler does not report what the cluster can have; only the command of its process names the file.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, yaml.YAMLError):
            options = _options(process.cmdline())
            if "autoscaling-config" in options and options.get("gcs-address", "").endswith(f":{gcs_port}"):
                path = Path(process.cwd(), Path(options["autoscaling-config"]).expanduser())
                content = yaml.safe_load(path.read_text())
                return content if isinstance(content, Mapping) else None
    return None


def _options(command: Sequence[str]) -> dict[str, str]:
    return dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)


def is_still_starting(error: RuntimeError) -> bool:
    """Whether a cluster refuses a job because it has just started; Ray has no error of its own for that."""
    return "try again later" in str(error)
