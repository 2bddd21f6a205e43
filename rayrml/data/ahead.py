"""Items that are produced ahead of their use."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_SECONDS_BETWEEN_LOOKS = 0.05


class Ahead(Iterator[Item], Generic[Item]):
    """The items of an iterable, produced in a background thread; at most `most` of them wait to be consumed.

    An exception of the iterable is raised at its place in the sequence.
    """

    def __init__(self, items: Iterable[Item], most: int = 1):
        self._items = items
        self._made: queue.Queue[tuple[str, Any]] = queue.Queue(most)
        self._stop = threading.Event()
        # An executor's thread would keep the process from exiting while items are being produced, or are waiting.
        threading.Thread(target=self._make, daemon=True).start()

    def __next__(self) -> Item:
        if self._stop.is_set():
            raise StopIteration
        kind, value = self._made.get()
        if kind == "item":
            return value
        self._stop.set()
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """Stop producing items."""
        self._stop.set()

    def _make(self) -> None:
        last: tuple[str, Any] = ("end", None)
        try:
            for item in self._items:
                self._put(("item", item))
                if self._stop.is_set():
                    break
        except BaseException as error:  # passed to the consuming thread
            last = ("error", error)
        finally:
            with contextlib.suppress(Exception):  # a pipeline that is closed early may complain
                getattr(self._items, "close", lambda: None)()
            self._put(last)

    def _put(self, made: tuple[str, Any]) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(made, timeout=_SECONDS_BETWEEN_LOOKS)
                return
