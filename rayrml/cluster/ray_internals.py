"""All uses of Ray's private parts in this package: each function says what it works around.

If a Ray lacks one of these parts, the run does without it: a slow or noisy run is better than none.
`tests/cluster/test_ray_internals.py` fails for each one that a new version of Ray drops or renames.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.job_config
import yaml
from ray.exceptions import RayActorError, RayTaskError

from rayrml.cluster import signal_handlers

HEAD_RESOURCE = "node:__internal_head__"  # only the head has it
START_TIMEOUT_VARIABLE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
JOB_STOP_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
# Ray Data reads them on import, in each process.
QUIET_VARIABLES: Mapping[str, str] = {"RAY_DATA_LOG_LEVEL": "ERROR", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
FAILURE_LOGGER = "ray.data.exceptions"  # prints the stack of each error of Ray Data, which is raised, too
SUBMISSION_LOGGERS = (
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
_SAFE_PATH_VARIABLE = "PYTHONSAFEPATH"
_FOLDER_VARIABLE = "TMPDIR"
# Of the 107 bytes of a socket's path, Ray's own names take up to 69.
_LONGEST_FOLDER, _SHORT_FOLDER = 38, "/tmp"
_WATCHER_VARIABLE = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
_LOOK_VARIABLE, _SECONDS_BETWEEN_LOOKS = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"
_DRAIN_VARIABLE, _SECONDS_BETWEEN_DRAINS = "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1.0"
_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_MAKE_CALLBACKS = "_create_default_callbacks"
_TRAIN = "ray.train.v2._internal"
_DATA_SERVICES = (
    ("ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator", "get_or_create_autoscaling_coordinator"),
    ("ray.data._internal.stats", "get_or_create_stats_actor"),
    ("ray.data._internal.usage.actor", "get_or_create_usage_collection_actor"),
)


def was_started_here() -> bool:
    """Whether this process itself started the Ray that it is connected to.

    Ray's public interface only tells whether it is initialized, not who started it.
    """
    worker: Any = sys.modules.get("ray._private.worker")
    return bool(getattr(getattr(worker, "_global_node", None), "head", True))


def is_client_connected() -> bool:
    """Whether this process is connected through Ray's client (`ray://`), which `ray.is_initialized` does not tell."""
    connection = getattr(sys.modules.get("ray.util.client"), "ray", None)
    return connection is not None and connection.is_connected()


def hide_raylet_logs() -> None:
    """Keep Ray from printing the last lines of a raylet's log whenever a machine is lost; no setting prevents that."""
    with contextlib.suppress(ImportError):
        worker: Any = importlib.import_module("ray._private.worker")
        worker.print_to_stdstream = lambda *arguments, **options: None


@contextlib.contextmanager
def listen_on_loopback() -> Iterator[None]:
    """Make a Ray that is started in this block accept connections only from this machine.

    Ray does so by default on systems other than Linux, unless a variable says otherwise; Linux has no setting for it.
    If the user has set the variable, its value is respected.
    """
    constants: Any = sys.modules.get("ray._private.ray_constants")
    wished, before = os.environ.get(_LOOPBACK_VARIABLE), getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if wished is not None:
        yield
        return
    os.environ[_LOOPBACK_VARIABLE] = "0"
    if before is not None:
        constants.ENABLE_RAY_CLUSTER = False  # Ray has read the variable on import
    try:
        yield
    finally:
        os.environ.pop(_LOOPBACK_VARIABLE, None)
        if before is not None:
            constants.ENABLE_RAY_CLUSTER = before


def never_start_unasked() -> None:
    """Make Ray's functions in this process fail where there is no Ray, instead of starting one.

    A thread that still decodes ahead when a run ends its Ray would start another one, with Ray's own settings. Ray
    reads the variable for it on import.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("ray._private.auto_init_hook").enable_auto_connect = False  # type: ignore[attr-defined]


def shut_down() -> None:
    """Shut Ray down without letting SIGTERM kill this process meanwhile.

    Ray's core resets SIGTERM to its default action; about a second passes then until Ray has ended its processes. The
    handler is installed again as soon as the core is gone.
    """
    before = signal_handlers.read_handler(signal.SIGTERM)
    try:
        state: Any = importlib.import_module("ray._private.state").state
        disconnect = state.disconnect  # called after the core has been shut down and before processes are ended
    except (ImportError, AttributeError):
        ray.shutdown()
        return

    def after_core() -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        else:
            signal_handlers.install_handler(signal.SIGTERM, before)
        disconnect()

    state.disconnect = after_core
    try:
        ray.shutdown()
    finally:
        del state.disconnect


def machine_resources() -> Mapping[str, float] | None:
    """The resources that a Ray has if it is started on this machine; None if that is not known before.

    Ray tells them only when it runs.
    """
    with contextlib.suppress(ImportError, AttributeError, TypeError, ValueError):
        spec: Any = importlib.import_module("ray._private.resource_and_label_spec").ResourceAndLabelSpec()
        spec.resolve(is_head=True, node_ip_address="127.0.0.1")
        return spec.to_resource_dict()
    return None


class JobConfig(ray.job_config.JobConfig):
    """A job whose processes look for no modules in the driver's current folder.

    Ray puts that folder before all others in which its processes look: a `random.py` or `torch.py` there would hide the
    real one. No setting prevents that. If rayrml itself is there, the folder stays.
    """

    def _serialize(self) -> str:
        package = str(Path(__file__).parent.parent.parent)
        kept = [path for path in self._py_driver_sys_path if path == package or path != _current_folder()]
        self._py_driver_sys_path = kept
        return super()._serialize()


def _current_folder() -> str:
    return os.path.abspath(os.path.curdir)  # noqa: PTH100 (as Ray writes it)


@contextlib.contextmanager
def start_safely() -> Iterator[None]:
    """Make the processes of a Ray that is started in this block look for no modules in the current folder.

    Ray's dashboard starts some of its parts with `python -c`, which looks there first.
    """
    with _variable(_SAFE_PATH_VARIABLE, "1"):
        yield


@contextlib.contextmanager
def keep_sockets_short() -> Iterator[None]:
    """Make a Ray that is started in this block use /tmp for temporary files if paths of sockets would be too long.

    RAY_TMPDIR decides about Ray's own sockets, but not about those of its dashboard.
    """
    long = len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER
    with _variable(_FOLDER_VARIABLE, _SHORT_FOLDER) if long else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Give a Ray that is started in this block variables of the environment, and so all of its processes.

    Given to `ray.init`, they would be in Ray's logs.
    """
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(_variable(name, value))
        yield


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment in this block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def train_without_watcher() -> Iterator[None]:
    """Make runs in this block start no process that watches whether nodes are about to be taken away.

    It is for clusters; starting it takes some seconds of a CPU. If the user has set the variable, its value is kept.
    """
    with _default(_WATCHER_VARIABLE, "0"):
        yield


@contextlib.contextmanager
def notice_ends_soon() -> Iterator[None]:
    """Make Ray Train notice sooner that the workers of a run in this block have ended or failed: it looks every 2 s.

    If the user has set the variable, its value is kept.
    """
    with _default(_LOOK_VARIABLE, _SECONDS_BETWEEN_LOOKS):
        yield


@contextlib.contextmanager
def notice_drains_soon() -> Iterator[None]:
    """Make Ray Train notice sooner that a node of a run in this block is about to be taken away: it looks every 5 s.

    Kubernetes gives a node 30 seconds. If the user has set the variable, its value is kept.
    """
    with _default(_DRAIN_VARIABLE, _SECONDS_BETWEEN_DRAINS):
        yield


def list_preempted_workers() -> Collection[int]:
    """The ranks of the workers of this worker's run whose nodes are about to be taken away, as far as Ray Train knows.

    The public `ray.train.get_preemption_info` makes all workers wait for each other, which takes too long for each
    step.
    """
    with contextlib.suppress(ImportError, AttributeError):
        context: Any = importlib.import_module(f"{_TRAIN}.execution.context")
        told = context.get_train_context().preemption_context.preemption_info
        return () if told is None else told.preempted_ranks
    return ()


class WorkersLeave(RayActorError):
    """All workers of a run end in order, because one of them is about to be lost.

    Ray Train then starts them again, and does not count it among the failures that a run survives, as it does not with
    workers whose nodes were taken away.
    """

    def __init__(self) -> None:
        super().__init__(error_msg="the workers have ended because one of them is about to be lost", preempted=True)


def _default(name: str, value: str) -> contextlib.AbstractContextManager[None]:
    """A block in which a variable of the environment has this value unless the user has set it."""
    return contextlib.nullcontext() if name in os.environ else _variable(name, value)


def drop_unused_services(trainer: Any, *, private: bool) -> None:
    """Keep a Ray Train trainer from starting processes that its run does not need, each of which imports Ray Train.

    They hand out datasets that are given to the trainer, and, only needed if Ray outlives the run, free the workers'
    places if the trainer's own process is lost. No setting prevents that.
    """
    unused = ("DatasetsCallback", *(("PlacementGroupCleanerCallback",) if private else ()))
    if (make := getattr(trainer, _MAKE_CALLBACKS, None)) is not None:
        setattr(trainer, _MAKE_CALLBACKS, lambda: [each for each in make() if type(each).__name__ not in unused])


def restart_after_losses_at_start(trainer: Any) -> None:
    """Make a Ray Train trainer count a worker that is lost at the start as a failure, after which it starts them again.

    Ray Train restarts workers that are lost before they meet. If one is lost while they meet, the others keep their
    places, for which the next ones wait forever; if one is lost while their loops are launched, the run ends. No
    setting prevents either.
    """
    with contextlib.suppress(ImportError, AttributeError):
        controller_callback: Any = importlib.import_module(f"{_TRAIN}.execution.callback").ControllerCallback

        class Preparation(controller_callback):
            """Executed in the process that starts the workers."""

            def after_controller_start(self, train_run_context: Any) -> None:
                _count_losses_at_start()

        make = getattr(trainer, _MAKE_CALLBACKS)
        setattr(trainer, _MAKE_CALLBACKS, lambda: [*make(), Preparation()])


def _count_losses_at_start() -> None:
    """Replace the class by which Ray Train starts workers in this process."""
    with contextlib.suppress(ImportError, AttributeError):
        from ray.train import WorkerGroupError

        controller: Any = importlib.import_module(f"{_TRAIN}.execution.controller.controller").TrainController
        unmet: Any = importlib.import_module(f"{_TRAIN}.exceptions").WorkerGroupStartupFailedError

        class Workers(controller.worker_group_cls):
            def _start(self) -> None:
                try:
                    super()._start()
                # An error in a task is that of a worker that waited for the lost one.
                except (unmet, RayActorError, RayTaskError) as error:
                    if not self.has_started():  # the workers have not met; Ray has removed them
                        raise
                    loss = error.__cause__ if isinstance(error.__cause__, RayActorError) else error
                    ids = [worker.actor._actor_id.hex() for worker in self.get_workers()]
                    lost = getattr(loss, "actor_id", None)
                    self.abort()
                    raise WorkerGroupError(str(loss), {ids.index(lost) if lost in ids else 0: loss}) from error

        controller.worker_group_cls = Workers


def start_data_services() -> None:
    """Start the actors that Ray Data shares between all runs on this process's node.

    Ray Data always starts them on the node where it is first used, and they stay after the run.
    """
    for module, function in _DATA_SERVICES:
        with contextlib.suppress(ImportError, AttributeError):
            getattr(importlib.import_module(module), function)()


def set_seconds_between_limits(seconds: float) -> None:
    """Make Ray Data update its tasks' resource limits after so many seconds.

    It requests the cluster's resources without waiting for the reply and runs one task at a time until it has one, but
    checks for the reply only once a second, which no setting changes.
    """
    with contextlib.suppress(ImportError, AttributeError):
        manager: Any = importlib.import_module("ray.data._internal.execution.resource_manager").ResourceManager
        manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = seconds


def reported_maximum() -> Mapping[str, float] | None:
    """The maximum of each resource that the cluster has reported to Ray, None if it has not.

    Ray Train limits its number of workers by it, but does not expose it.
    """
    with contextlib.suppress(ImportError, AttributeError):
        state: Any = importlib.import_module("ray._private.state").state
        return state.get_max_resources_from_cluster_config()
    return None


def free_resources() -> Mapping[str, Mapping[str, float]]:
    """The resources of each node that nothing uses now, by the node's id.

    Ray's public interface only tells their sum over all nodes.
    """
    with contextlib.suppress(ImportError, AttributeError):
        state: Any = importlib.import_module("ray._private.state").state
        return state.available_resources_per_node()
    return {"": ray.available_resources()}


def read_launcher_file(gcs_port: str) -> Mapping[str, Any] | None:
    """The launcher file of the autoscaler of the cluster at this machine's `gcs_port`, None if there is none.

    Version 1 of the autoscaler does not report the cluster's maximum; only its process's command names the file.
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
    """Whether a cluster refuses a job because it has just started; Ray has no specific error for that."""
    return "try again later" in str(error)
