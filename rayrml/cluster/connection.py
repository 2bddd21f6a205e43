"""Connecting to a Ray cluster or starting a private Ray, and hiding Ray's messages."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import ray

from rayrml.cluster import nodes, ray_internals
from rayrml.cluster.allocation import Allocation, allocate
from rayrml.config.sections import Ray
from rayrml.errors import ClusterError

_START_TIMEOUTS = {True: "15", False: "600"}  # seconds, by whether the run is elastic


@contextlib.contextmanager
def connect(config: Ray, *, verbose: bool = False) -> Iterator[Allocation]:
    """Connect to a cluster, or start a temporary private one; yield the part that the run takes.

    If this process has initialized Ray already, that Ray is used and left running.

    Raises:
        ClusterError: there is no cluster at the address, or it lacks what the configuration requests.
    """
    _set_start_timeout(elastic=isinstance(config.num_workers, tuple))
    if not verbose:
        hide_messages()
    ours = not ray.is_initialized()
    address = config.address or os.environ.get("RAY_ADDRESS")
    if ours:
        _initialize(address, verbose)
    try:
        if not verbose:
            ray_internals.hide_raylet_logs()
        attached = address is not None or not (ours or ray_internals.was_started_here())
        if attached:
            nodes.keep_services_on_head()
        limit = nodes.maximum_capacity() if attached else None
        allocation = allocate(config, nodes.node_resources(), attached=attached, limit=limit)
        yield dataclasses.replace(allocation, private=ours and address is None, verbose=verbose)
    finally:
        if ours:
            ray.shutdown()


def _set_start_timeout(*, elastic: bool) -> None:
    """Set how long Ray waits for resources for its workers before it checks again what is available.

    When a node is lost, the first check still counts it: an elastic run would wait in vain for as many workers as
    before. A run that needs all its workers has no reason to check again.
    """
    variable = ray_internals.START_TIMEOUT_VARIABLE
    if os.environ.get(variable, "") in ("", *_START_TIMEOUTS.values()):  # the user has not set another value
        os.environ[variable] = _START_TIMEOUTS[elastic]


def _initialize(address: str | None, verbose: bool) -> None:
    """Connect to the cluster at an address, or start a private Ray if there is no address."""
    with contextlib.ExitStack() as stack:
        if address is None:
            stack.enter_context(ray_internals.listen_on_loopback())
        elif not verbose:
            stack.enter_context(hide_stderr())
        try:
            ray.init(
                # "local" starts a new Ray instead of connecting to one that already runs on this machine.
                address=address or "local",
                logging_level=logging.INFO if verbose else logging.ERROR,
                log_to_driver=verbose,
                runtime_env=None if verbose else {"env_vars": dict(ray_internals.QUIET_VARIABLES)},
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise unreachable_error(address, error) from None


def unreachable_error(address: str | None, error: Exception) -> ClusterError:
    """The error for a Ray that cannot be reached or, without an address, cannot be started."""
    place = f"the cluster at {address}" if address else "a private local Ray"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ClusterError(f"cannot start or reach {place}. {reason}{_token_hint(address)}")


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


def _token_hint(address: str | None) -> str:
    if address and os.environ.get("RAY_AUTH_MODE") is None:
        return ". If the cluster uses token authentication: export RAY_AUTH_MODE=token"
    return ""


def hide_messages() -> None:
    """Let Ray print only errors, in this process and in those that it starts."""
    for name, value in ray_internals.QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Ray Data is slow to import and reads the variables on import; another thread may be importing it right now.
    if (context := getattr(sys.modules.get("ray.data"), "DataContext", None)) is not None:
        context.get_current().enable_progress_bars = False
