"""Whether a cluster can be reached at all, which is found out before Ray tries: it waits for minutes without a word."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rayrml.errors import ClusterError

_SECONDS_OF_TRYING = 3.0  # a head that has just started listens soon
_SECONDS_BETWEEN_LINES = 10.0
_PLACE = re.compile(r"(?:ray://)?\[?(?P<host>[^\]/]+?)\]?:(?P<port>\d+)/?")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a cluster is.

    Attributes:
        value: as Ray takes it.
        variable: whether it comes from RAY_ADDRESS and not from the configuration.
    """

    value: str
    variable: bool

    def __str__(self) -> str:
        return f"{self.value} (RAY_ADDRESS)" if self.variable else self.value


def find_address(configured: str | None) -> Address | None:
    """The configured address, or else that of the variable RAY_ADDRESS; None for a private Ray."""
    value = configured or os.environ.get("RAY_ADDRESS")
    return Address(value, not configured) if value and value != "local" else None


def check_reachable(address: Address) -> None:
    """Return if something listens at an address that names host and port. Raises ClusterError otherwise."""
    place = _PLACE.fullmatch(address.value)
    if place is None:
        return  # `auto`, or something that Ray itself refuses
    end = time.monotonic() + _SECONDS_OF_TRYING
    while True:
        try:
            socket.create_connection((place["host"], int(place["port"])), timeout=_SECONDS_OF_TRYING).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > end or not isinstance(error, ConnectionRefusedError):
                raise ClusterError(_describe(address, error)) from None
        time.sleep(0.3)


def _describe(address: Address, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    cure = "Unset RAY_ADDRESS to start a private Ray" if address.variable else "Expected the address of a running head"
    return f"cannot reach the cluster at {address}: {reason}. {cure}, or start the cluster"


@contextlib.contextmanager
def waiting(address: Address, say: Callable[[str], None]) -> Iterator[None]:
    """A block that connects: it says now and then that it waits, and a signal ends the process at once.

    Ray connects in native code, in which Python's handlers of signals do not run. An interactive session is not ended:
    it may hold more than this run, and gets its interrupt when Ray comes back.
    """
    connected = threading.Event()

    def report() -> None:
        seconds = _SECONDS_BETWEEN_LINES
        while not connected.wait(_SECONDS_BETWEEN_LINES):
            say(f"Still connecting to the cluster at {address} ({seconds:.0f} s)")
            seconds += _SECONDS_BETWEEN_LINES

    threading.Thread(target=report, daemon=True).start()
    handlers = {}
    if threading.current_thread() is threading.main_thread() and not _is_interactive():
        handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        connected.set()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_interactive() -> bool:
    """Whether somebody types into this process: at Python's prompt, or in a notebook."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules
