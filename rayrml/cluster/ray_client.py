"""Runs of a process that is connected through Ray's client (`ray://`): executed on the head, and shown here."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import ray
import ray.exceptions

from rayrml.cluster import ray_internals
from rayrml.cluster.connection import unreachable_error
from rayrml.cluster.nodes import head_ids, pin_to_node
from rayrml.cluster.reachability import Address, check_reachable, find_address
from rayrml.config.reading import make_portable
from rayrml.config.sections import Config
from rayrml.errors import RayrmlError

Result = TypeVar("Result")
_SECONDS_BETWEEN_LOOKS = 0.25
_PATIENCE = 30.0  # seconds for an orderly end
_TRIES = 3  # to connect: on a crowded head, the process that Ray starts for each client sometimes ends at once


def run(config: Config, carry_out: Callable[..., Result], **options: Any) -> Result:
    """Run `carry_out` with the configuration and these options on the head, as a process of the cluster.

    Relative paths are resolved here, and paths are the same on all machines; the network's file is read here.

    Raises:
        RayrmlError: what `carry_out` raises.
        ClusterError: the cluster cannot be reached.
        KeyboardInterrupt: the run was interrupted.
    """
    values = make_portable(config)
    values.get("ray", {}).pop("address", None)
    with _connected(config.ray.address):
        actor: Any = ray.remote(_Screen)
        screen = actor.options(num_cpus=0).remote()
        task: Any = ray.remote(_on_head)
        where = pin_to_node(head_ids()[0])
        how: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": where, "max_retries": 0}
        if config.ray.env_vars:  # the processes of a task inherit its environment
            how["runtime_env"] = {"env_vars": dict(config.ray.env_vars)}
        running = task.options(**how).remote(json.dumps(values), carry_out, options, screen)
        try:
            while not ray.wait([running], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
                _show(screen)
        except KeyboardInterrupt:
            ray.cancel(running)
            ray.wait([running], timeout=_PATIENCE)
            _show(screen)
            raise
        _show(screen)
        try:
            return ray.get(running)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RayrmlError):
                raise error.cause from None
            raise


def is_needed(address: str | None) -> bool:
    """Whether a run with this address in its configuration goes through Ray's client."""
    if ray.is_initialized():
        return ray_internals.is_client_connected()
    place = find_address(address)
    return place is not None and place.value.startswith("ray://")


@contextlib.contextmanager
def _connected(address: str | None) -> Any:
    ours, place = not ray.is_initialized(), find_address(address)
    if ours and place is not None:
        check_reachable(place)
        _connect(place)
    try:
        yield
    finally:
        if ours:
            ray_internals.shut_down()


def _connect(address: Address) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            ray.init(address=address.value, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            if isinstance(error, ConnectionAbortedError) and tries_left:
                continue
            raise unreachable_error(address, error) from None
        else:
            return


def _show(screen: Any) -> None:
    sys.stdout.write(ray.get(screen.take.remote()))
    sys.stdout.flush()


class _Screen:
    """The actor that keeps what a run prints until it is shown."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def put(self, text: str) -> None:
        self._text.append(text)

    def take(self) -> str:
        text, self._text = self._text, []
        return "".join(text)


class _Output(io.TextIOBase):
    """A stream that sends a run's output to a screen."""

    def __init__(self, screen: Any):
        self._screen = screen

    def write(self, text: str) -> int:
        self._screen.put.remote(text)
        return len(text)

    def writable(self) -> bool:
        return True


def _on_head(values: str, carry_out: Callable[..., Result], options: dict[str, Any], screen: Any) -> Result:
    with contextlib.redirect_stdout(_Output(screen)):
        result = carry_out(json.loads(values), **options)
    ray.get(screen.put.remote(""))  # waits until everything before it has arrived
    return result
