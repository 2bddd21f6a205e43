"""A server that this process starts and ends: Ray, if none is given, Ray Serve on it, and the network's replicas."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydantic
import ray
from ray.util import list_named_actors

from rayrml import storage
from rayrml.cluster import ray_client
from rayrml.cluster.connection import connect
from rayrml.cluster.nodes import head_ids
from rayrml.config.reading import parse_ray
from rayrml.errors import ClusterError, ConfigError, Problem, describe, printable
from rayrml.extras import missing
from rayrml.saving.checkpoint_folder import find_model
from rayrml.serving.settings import TOKEN_VARIABLE, Settings

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")
_NAME = "rayrml"
_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
_PACKAGES = ("starlette", "uvicorn", "grpc_reflection", "python_multipart")  # that `ray[serve]` and forms need
_NUM_LINES = 3


class Server:
    """A running server; `close` ends it, as does the end of a `with` block.

    Attributes:
        url: its address.
        token: that requests must have, None if they need none.
    """

    def __init__(self, url: str, token: str | None, stack: contextlib.ExitStack):
        self.url = url
        self.token = token
        self._stack = stack

    @property
    def page(self) -> str:
        """The address of the page for a browser, which has the token."""
        return self.url if self.token is None else f"{self.url}/#token={self.token}"

    def close(self) -> None:
        """End the server, and the Ray that it started."""
        self._stack.close()

    def __enter__(self) -> Server:
        """The server itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """End the server."""
        self.close()


def serve(
    checkpoint: str | Path,
    *,
    port: int = 8000,
    replicas: int | tuple[int, int] = 1,
    gpus: float = 0,
    address: str | None = None,
    host: str = LOOPBACK,
    token: str | None = None,
    no_token: bool = False,
    overrides: Mapping[str, Any] | None = None,
    verbose: bool = False,
    say: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Server:
    """Serve a network's predictions over HTTP; a file's prediction is that of `rayrml predict`.

    Args:
        checkpoint: a file, or a run's folder, which means its best model.
        port: of the server; 0 for one that is free.
        replicas: of the network; (min, max) lets their number follow the requests.
        gpus: of each replica, also a part of one; without any it computes on the CPU.
        address: a running Ray cluster; default: the environment variable RAY_ADDRESS, or a private local Ray.
        host: network address that the server listens at; others than the default let other machines ask.
        token: that requests must have; by default that of `RAYRML_SERVE_TOKEN`, or a new one.
        no_token: whether requests need no token.
        overrides: values for dotted keys of the configuration, such as `{"data.test_batch_size": 256}`.
        verbose: show Ray's own messages.
        say: told what takes time.
        options: further fields of `Settings`.

    Raises:
        ConfigError: the network cannot be served, or an argument is invalid.
        DataError: there is no such checkpoint.
        ClusterError: Ray cannot provide what was requested, or a server is there already.
    """
    _refuse_missing_packages()
    least, most = replicas if isinstance(replicas, tuple) else (replicas, replicas)
    settings = _make_settings(
        checkpoint=storage.absolute(find_model(checkpoint)),
        overrides=dict(overrides or {}),
        min_replicas=least,
        max_replicas=most,
        gpus=gpus,
        token=token if no_token else token or os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24),
        open=no_token,
        hosts=_LOOPBACK_NAMES if host in _LOOPBACK_NAMES else (),
        **options,
    )
    return _open(_with_weights(settings), _Place(host, port, address, verbose), say)


def _open(settings: Settings, place: _Place, say: Callable[[str], None]) -> Server:
    """The server, once it answers; if that fails, nothing is left of it."""
    stack = contextlib.ExitStack()
    try:
        url = _start(settings, place, stack, say)
    except BaseException:
        stack.close()
        raise
    return Server(url, settings.token, stack)


def _with_weights(settings: Settings) -> Settings:
    """The settings with the weights that replicas must have, also if a training replaces the checkpoint by then.

    Raises:
        ConfigError, DataError: the network cannot be served.
    """
    from rayrml.serving.model import find_servable, identify

    _, preparation = find_servable(settings.checkpoint, settings.overrides)
    return settings.model_copy(update={"weights": identify(preparation)})


def _refuse_missing_packages() -> None:
    """Raise ConfigError if a server's optional packages are not installed."""
    for package in _PACKAGES:
        if lacking := missing(package, "serve"):
            raise ConfigError(Problem("serve", lacking))


class _Place:
    """Where a server is."""

    def __init__(self, host: str, port: int, address: str | None, verbose: bool):
        self.host = host
        self.port = port
        self.address = address
        self.verbose = verbose


def _make_settings(**given: Any) -> Settings:
    """The settings. Raises ConfigError with all mistakes."""
    try:
        return Settings(**given)
    except pydantic.ValidationError as error:
        problems = [
            Problem(".".join(map(str, one["loc"])) or "serve", one["msg"].removeprefix("Value error, "))
            for one in error.errors()
        ]
        raise ConfigError(*problems) from None


def _start(settings: Settings, place: _Place, stack: contextlib.ExitStack, say: Callable[[str], None]) -> str:
    """Start what is not there yet, and return the server's address; the stack ends it."""
    from ray import serve as ray_serve

    from rayrml.serving.deployment import application

    if not place.verbose:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
    section = parse_ray({} if place.address is None else {"ray.address": place.address})
    if ray_client.is_needed(section.address):
        raise ConfigError(Problem("address", "ray:// is for other programs. `serve deploy` starts a server from afar"))
    allocation = stack.enter_context(connect(section, verbose=place.verbose, say=say))
    if any(actor["name"] == _CONTROLLER for actor in _list_actors()):
        message = "Ray Serve runs on this cluster already, and has one port alone. `serve deploy` adds applications"
        raise ClusterError(message)
    if allocation.private:
        _check_resources(settings)
    shown = _find_host(place.host, private=allocation.private)
    port = place.port or _find_free_port(place.host)
    if allocation.private:
        _check_port(place.host, port)
    say("Starting Ray Serve")
    stack.callback(_end_serve)
    logs = {"log_level": "INFO" if place.verbose else "WARNING", "enable_access_log": place.verbose}
    try:
        ray_serve.start(proxy_location="HeadOnly", http_options={"host": place.host, "port": port}, logging_config=logs)
        say("Loading the network")
        ray_serve.run(application(settings), name=_NAME, route_prefix="/", logging_config=logs)
    except RuntimeError as error:
        raise ClusterError(f"the server did not start. {_find_reason(error)}") from None
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _find_host(host: str, *, private: bool) -> str:
    """By what name the server is asked: it is on the cluster's head, which may be another machine.

    Raises:
        ConfigError: it would listen there at an address that nobody else reaches.
    """
    everywhere = host in _EVERYWHERE
    if private:
        return socket.gethostname() if everywhere else host
    heads = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] in head_ids()}
    if not everywhere and heads and ray.get_runtime_context().get_node_id() not in heads:
        message = f"the server is on the cluster's head, where {host} is not this machine. Expected `--host 0.0.0.0`"
        raise ConfigError(Problem("host", message))
    return next(iter(heads.values()), host) if everywhere else host


def _list_actors() -> list[Mapping[str, str]]:
    found: Any = list_named_actors(all_namespaces=True)
    return found


def _check_resources(settings: Settings) -> None:
    """Raise ClusterError if this machine lacks what the replicas need at least: they would wait forever."""
    there = ray.cluster_resources()
    for name, each in (("CPU", settings.cpus), ("GPU", settings.gpus)):
        if settings.min_replicas * each > there.get(name, 0):
            needed, found = settings.min_replicas * each, there.get(name, 0)
            message = f"{settings.min_replicas} replicas need {needed:g} {name}s, but this machine has {found:g}"
            raise ClusterError(f"{message}. Expected fewer --replicas, or a smaller part of each for one")


def _find_free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _check_port(host: str, port: int) -> None:
    """Raise ConfigError if the address cannot be listened at."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        message = f"{host}:{port} cannot be listened at. {describe(error)}. `--port` chooses another port"
        raise ConfigError(Problem("port", message)) from None


def _end_serve() -> None:
    """End Ray Serve; Ray itself goes on."""
    from ray import serve as ray_serve

    with contextlib.suppress(Exception):  # Ray may be gone already
        ray_serve.shutdown()


def _find_reason(error: Exception) -> str:
    """The last lines of what Ray Serve says, which has a replica's whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.rpartition("Error: ")[2] for line in lines if "Error: " in line]
    return printable(told[-1] if told else " ".join(lines[-_NUM_LINES:]))
