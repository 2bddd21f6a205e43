"""Connecting to a cluster of Ray, or to a private one, and keeping Ray quiet meanwhile."""

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
    """Connect to a cluster, or start a private one for the time being; yields what the run takes of it.

    A Ray that this process has initialized already is used, and left as it is.

    Raises:
        ClusterError: no cluster at the address, or it lacks what the configuration asks for.
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
    """Set how long Ray waits for room for the workers that it wants before it looks again what there is.

    When a node is lost, the first look still sees it: an elastic run would wait in vain for as many workers as before.
    One that must have all its workers has no reason to look again.
    """
    variable = ray_internals.START_TIMEOUT_VARIABLE
    if os.environ.get(variable, "") in ("", *_START_TIMEOUTS.values()):  # the user has not set another one
        os.environ[variable] = _START_TIMEOUTS[elastic]


def _initialize(address: str | None, verbose: bool) -> None:
    """Connect to the cluster at an address, or start a private Ray where there is none."""
    with contextlib.ExitStack() as stack:
        if address is None:
            stack.enter_context(ray_internals.listen_on_loopback())
        elif not verbose:
            stack.enter_context(hide_stderr())
        try:
            ray.init(
                # A private Ray must not be whatever other Ray happens to run on this machine.
                address=address or "local",
                logging_level=logging.INFO if verbose else logging.ERROR,
                log_to_driver=verbose,
                runtime_env=None if verbose else {"env_vars": dict(ray_internals.QUIET_VARIABLES)},
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise unreachable_error(address, error) from None


def unreachable_error(address: str | None, error: Exception) -> ClusterError:
    """The error for a Ray that cannot be connected to, or started where there is no address."""
    place = f"the cluster at {address}" if address else "a private local Ray"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ClusterError(f"cannot start or reach {place}. {reason}{_token_hint(address)}")


@contextlib.contextmanager
def hide_stderr() -> Iterator[None]:
    """Hide what Ray's own library writes to the process's standard error in this block; what Python does is shown."""
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
    with contextlib.suppress(OSError, AttributeError, ValueError):  # no file at all, as in a notebook
        return stream.fileno() == 2
    return False


def _token_hint(address: str | None) -> str:
    if address and os.environ.get("RAY_AUTH_MODE") is None:
        return ". If the cluster uses token authentication: export RAY_AUTH_MODE=token"
    return ""


def hide_messages() -> None:
    """Let Ray print nothing but errors, in this process and in those that it starts."""
    for name, value in ray_internals.QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It is slow to import, and reads the variables when it is; another thread may just be importing it.
    if (context := getattr(sys.modules.get("ray.data"), "DataContext", None)) is not None:
        context.get_current().enable_progress_bars = False
