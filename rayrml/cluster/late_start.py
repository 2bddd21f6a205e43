"""A private Ray that starts when it is first needed: many runs on one machine never need it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

_lock = threading.Lock()
_offers: list[LateStart] = []  # of the runs in this process that are not over; all of them share the first one


class LateStart:
    """Starts a Ray in a thread of its own when it is asked for, and shuts it down there.

    The system ends Ray's processes with the thread that started them, so the thread lives until Ray has ended.

    Args:
        start: starts Ray.
        stop: shuts it down.
        resources: those of this machine, as Ray will find them.
    """

    def __init__(self, start: Callable[[], None], stop: Callable[[], None], resources: Mapping[str, float]):
        self.resources = resources
        self._start = start
        self._stop = stop
        self._lock = threading.Lock()
        self._started: Future[None] | None = None
        self._stopped: Future[None] = Future()
        self._over = threading.Event()

    @property
    def is_begun(self) -> bool:
        """Whether Ray was asked for."""
        return self._started is not None

    @property
    def is_up(self) -> bool:
        """Whether Ray has started, and has not ended."""
        started = self._started
        return started is not None and started.done() and not started.exception() and not self._over.is_set()

    @property
    def is_starting(self) -> bool:
        """Whether Ray was asked for, and has neither started nor failed."""
        return self._started is not None and not self._started.done()

    def is_ready(self) -> bool:
        """Whether Ray has started, which begins with the first call. Raises ClusterError if it cannot start."""
        with self._lock:
            if self._over.is_set():
                return False  # the caller is a thread that outlives its run
            if self._started is None:
                self._started = Future()
                threading.Thread(target=self._keep, args=[self._started], daemon=True).start()
        if not self._started.done():
            return False
        self._started.result()
        return True

    def start(self) -> None:
        """Start Ray unless it has started, and wait for it. Raises ClusterError if it cannot start."""
        self.is_ready()
        if self._started is not None:
            self._started.result()

    def close(self) -> None:
        """Shut Ray down if it was asked for; if it is still starting, as soon as it has started."""
        with self._lock:
            self._over.set()
            started = self._started
        if started is not None and started.exception() is None:  # which waits
            self._stopped.result()

    def _keep(self, started: Future[None]) -> None:
        try:
            self._start()
        except BaseException as error:  # passed to those who need Ray
            started.set_exception(error)
            return
        started.set_result(None)
        self._over.wait()
        try:
            self._stop()
        except BaseException as error:  # passed to the one who closes
            self._stopped.set_exception(error)
        else:
            self._stopped.set_result(None)


@contextlib.contextmanager
def offering(offer: LateStart) -> Iterator[LateStart]:
    """A block in which Ray can start late; runs that overlap in other threads share the Ray of the first of them.

    Yields the one that they share. A block that begins while that is being shut down waits for its end.
    """
    with _lock:
        shared = _offers[0] if _offers else offer
        _offers.append(shared)
    try:
        yield shared
    finally:
        with _lock:
            try:
                if _offers.count(shared) == 1:
                    shared.close()
            finally:
                _offers.remove(shared)


def find_offer() -> LateStart | None:
    """What starts Ray if a run in this process needs it; None if none of its runs has left that open."""
    return _offers[0] if _offers else None
