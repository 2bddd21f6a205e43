"""A server as a command: it says where it is, and a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any

from rayrml.reporting.console import Console
from rayrml.serving.server import LOOPBACK, Server, serve

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve_until_ended(checkpoint: str, *, quiet: bool = False, **options: Any) -> None:
    """Serve until SIGINT or SIGTERM, with the options of `serve`.

    Raises:
        KeyboardInterrupt: a signal came before the server was ready.
        RayrmlError: what `serve` raises.
    """
    console = Console(quiet=quiet)
    ended = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    _handle(interrupt)
    console.begin("Starting Ray")
    try:
        server = serve(checkpoint, say=console.begin, **options)
    finally:
        console.stop_waiting()
    with contextlib.closing(server):
        _handle(end)  # Ray has replaced the handlers
        console.lines(_describe(server, options))
        while not ended.wait(1.0):  # signals are handled between waits
            pass
        console.line("Ending the server")
    console.line("The server has ended")


def _handle(handler: Any) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _describe(server: Server, options: dict[str, Any]) -> list[str]:
    """What people have to know of a server that has just started."""
    found = [f"Serving at {server.page}"]
    if server.token is not None:
        found.append(f"Token: {server.token} (header `Authorization: Bearer TOKEN`)")
    elif options["host"] != LOOPBACK:
        found.append("Without a token, everybody who reaches this machine can use the network")
    return [*found, "Requests: POST /predict; see /docs. Ctrl-C ends the server"]
