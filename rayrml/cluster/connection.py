"""Connecting to a Ray cluster or starting a private Ray, and hiding Ray's messages."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from rayrml.cluster import late_start, nodes, ray_internals
from rayrml.cluster.allocation import Allocation, allocate
from rayrml.cluster.late_start import LateStart
from rayrml.cluster.reachability import Address, check_reachable, find_address, waiting
from rayrml.cluster.signal_handlers import keeping_handler
from rayrml.config.cluster import Ray
from rayrml.errors import ClusterError, ConfigError, Problem

_START_TIMEOUTS = {True: "15", False: "600"}  # seconds, by whether the run is elastic


@contextlib.contextmanager
def connect(
    config: Ray,
    *,
    verbose: bool = False,
    say: Callable[[str], None] = lambda text: None,
    begin: Callable[[str], None] = lambda text: None,
    late: bool = False,
) -> Iterator[Allocation]:
    """Connect to a cluster, or start a temporary private one; yield the part that the run takes.

    If this process has initialized Ray already, that Ray is used and left running.

    Args:
        config: the section `ray`.
        verbose: show Ray's own messages.
        say: told of a connection that takes long.
        begin: told what is waited for.
        late: whether a private Ray starts only when it is needed, if the only worker is this process.

    Raises:
        ClusterError: there is no cluster at the address, or it lacks what the configuration requests.
    """
    _set_start_timeout(elastic=isinstance(config.num_workers, tuple))
    ray_internals.never_start_unasked()
    if not verbose:
        hide_messages()
    address = find_address(config.address)
    shared = late_start.find_offer() is not None  # with another run in this process
    if shared and address is not None:
        message = f"another run in this process may start a private Ray, so none can use the cluster at {address}"
        raise ConfigError(Problem("ray.address", f"{message}. Start each in a process of its own"))
    offer = _offer_start(verbose=verbose) if address is None and (late or shared) else None
    if offer is not None:
        allocation = allocate(config, [offer.resources], attached=False)
        if late and allocation.in_driver:
            with late_start.offering(offer):
                yield dataclasses.replace(allocation, private=True, verbose=verbose)
            return
    with contextlib.ExitStack() as stack:
        begin(f"Connecting to the cluster at {address}" if address else "Starting Ray")
        if offer is not None and shared:
            stack.enter_context(late_start.offering(offer)).start()
        yield stack.enter_context(_connect_now(config, address, verbose=verbose, say=say))


@contextlib.contextmanager
def _connect_now(
    config: Ray, address: Address | None, *, verbose: bool, say: Callable[[str], None]
) -> Iterator[Allocation]:
    """Connect to the cluster at an address, or start a private Ray, unless this process has initialized Ray."""
    ours = not ray.is_initialized()
    if ours:
        _initialize(address, verbose, say, config.env_vars)
    else:
        _check_variables(config.env_vars)
    try:
        if not verbose:
            ray_internals.hide_raylet_logs()
        attached = address is not None or not (ours or ray_internals.was_started_here())
        if attached:
            nodes.keep_services_on_head()
        limit = nodes.maximum_capacity() if attached else None
        allocation = allocate(config, nodes.node_resources(), attached=attached, limit=limit)
        watched = contextlib.nullcontext() if attached else ray_internals.train_without_watcher()
        with watched, ray_internals.notice_ends_soon(), ray_internals.notice_drains_soon():
            yield dataclasses.replace(allocation, private=ours and address is None, verbose=verbose)
    finally:
        if ours:
            ray_internals.shut_down()


def _offer_start(*, verbose: bool) -> LateStart | None:
    """What starts a private Ray late; None if this process has initialized Ray, or if Ray alone knows the machine."""
    if late_start.find_offer() is None and ray.is_initialized():
        return None
    resources, late = ray_internals.machine_resources(), _LateRay(verbose)
    return None if resources is None else LateStart(late.start, late.stop, resources)


class _LateRay:
    """The private Ray of runs that have already begun, or one that this process has started meanwhile by itself."""

    def __init__(self, verbose: bool):
        self._verbose = verbose
        self._ours = False

    def start(self) -> None:
        """Start Ray. Raises ClusterError."""
        if ray.is_initialized():
            if not ray_internals.was_started_here():
                message = "this process has connected to a cluster since the run began, which needs a private Ray"
                raise ClusterError(f"{message}. Connect before the run, or run it in a process of its own")
            return
        # The handler of Ray's core writes a stack to standard error before it calls the one that was there.
        with keeping_handler(signal.SIGTERM):
            _initialize(None, self._verbose, lambda text: None, {})
        self._ours = True
        if not self._verbose:
            ray_internals.hide_raylet_logs()

    def stop(self) -> None:
        """Shut Ray down if `start` has started it."""
        if self._ours:
            ray_internals.shut_down()


def _set_start_timeout(*, elastic: bool) -> None:
    """Set how long Ray waits for resources for its workers before it checks again what is available.

    When a node is lost, the first check still counts it: an elastic run would wait in vain for as many workers as
    before. A run that needs all its workers has no reason to check again.
    """
    variable = ray_internals.START_TIMEOUT_VARIABLE
    if os.environ.get(variable, "") in ("", *_START_TIMEOUTS.values()):  # the user has not set another value
        os.environ[variable] = _START_TIMEOUTS[elastic]


def _check_variables(variables: Mapping[str, str]) -> None:
    """Raise ConfigError unless the processes of the Ray that this process is connected to have these variables."""
    given = ray.get_runtime_context().runtime_env.get("env_vars") or {}
    if missing := [name for name, value in variables.items() if given.get(name) != value]:
        cure = 'Expected them in `ray.init(runtime_env={"env_vars": ...})`, or no Ray before the run'
        message = f"Ray is running in this process without these values of {', '.join(missing)}"
        raise ConfigError(Problem("ray.env_vars", f"{message}. {cure}"))


def _initialize(
    address: Address | None, verbose: bool, say: Callable[[str], None], variables: Mapping[str, str]
) -> None:
    """Connect to the cluster at an address, or start a private Ray if there is no address.

    `variables` are added to the environment of all processes that Ray starts for this one.
    """
    with contextlib.ExitStack() as stack:
        if address is None:
            # A private Ray reports its use to nobody, unless it is told to.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            stack.enter_context(ray_internals.listen_on_loopback())
            stack.enter_context(ray_internals.start_safely())
            stack.enter_context(ray_internals.keep_sockets_short())
            _provide_token()
        else:
            check_reachable(address)
            stack.enter_context(waiting(address, say))
        if address is not None and not verbose:
            stack.enter_context(hide_stderr())
        # Processes of a private Ray inherit the variables. In an environment of their own they would start twice as
        # slowly, and those that Ray has ready from the beginning would be of no use.
        wanted = {} if address is None else {**({} if verbose else ray_internals.QUIET_VARIABLES), **variables}
        if address is None:
            stack.enter_context(ray_internals.variables(variables))
        try:
            ray.init(
                # "local" starts a new Ray instead of connecting to one that already runs on this machine.
                address="local" if address is None else address.value,
                logging_level=logging.INFO if verbose else logging.ERROR,
                log_to_driver=verbose,
                job_config=ray_internals.JobConfig(),
                runtime_env={"env_vars": wanted} if wanted else None,
            )
        except Exception as error:  # Ray raises bare exceptions, too, for instance on a machine that is too busy
            raise unreachable_error(address, error) from None


def _provide_token() -> None:
    """Give a private Ray a token of its own if it could not keep one in the home folder, as it does by default."""
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        usable = os.access(folder / "auth_token", os.R_OK) or os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # there is no home folder
        usable = False
    if not usable:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def unreachable_error(address: Address | None, error: Exception) -> ClusterError:
    """The error for a Ray that cannot be reached or, without an address, cannot be started."""
    place = f"the cluster at {address}" if address else "a private local Ray"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ClusterError(f"cannot start or reach {place}. {reason}{_token_hint(address)}{_folder_hint(error, reason)}")


@contextlib.contextmanager
def hide_stderr() -> Iterator[None]:
    """Hide what Ray's native library writes to standard error in this block; Python's own output is still shown."""
    original, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    python = sys.stderr
    try:
        with os.fdopen(os.dup(original), "w", buffering=1) as shown:
            if _is_standard_error(python):
                sys.stderr = shown
            os.dup2(nowhere, 2)
            yield
    finally:
        os.dup2(original, 2)
        sys.stderr = python
        os.close(original)
        os.close(nowhere)


def _is_standard_error(stream: Any) -> bool:
    with contextlib.suppress(OSError, AttributeError, ValueError):  # not a file, as in a notebook
        return stream.fileno() == 2
    return False


def _token_hint(address: Address | None) -> str:
    if address and os.environ.get("RAY_AUTH_MODE") is None:
        return ". If the cluster uses token authentication: export RAY_AUTH_MODE=token"
    return ""


def _folder_hint(error: Exception, reason: str) -> str:
    if "AF_UNIX path" in reason:
        return ". Set RAY_TMPDIR to a shorter path"
    folder = os.environ.get("RAY_TMPDIR")
    in_folder = folder and isinstance(error, OSError) and str(error.filename or "").startswith(folder)
    return ". Set RAY_TMPDIR to a folder that can be written" if in_folder else ""


def hide_messages() -> None:
    """Let Ray print only errors, in this process and in those that it starts."""
    for name, value in ray_internals.QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger(ray_internals.FAILURE_LOGGER).addFilter(_is_of_a_running_ray)
    # Ray Data is slow to import and reads the variables on import; another thread may be importing it right now.
    if (context := getattr(sys.modules.get("ray.data"), "DataContext", None)) is not None:
        context.get_current().enable_progress_bars = False


def _is_of_a_running_ray(record: logging.LogRecord) -> bool:
    """Whether a message is of interest: a run that is interrupted ends Ray while it still decodes ahead."""
    return ray.is_initialized()
