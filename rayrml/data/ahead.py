"""Items that are made before they are asked for."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_SECONDS_BETWEEN_LOOKS = 0.05


class Ahead(Iterator[Item], Generic[Item]):
    """The items of an iterable, made in a thread from now on; at most `most` of them wait to be taken.

    What the iterable raises is raised when its turn comes.
    """

    def __init__(self, items: Iterable[Item], most: int = 1):
        self._items = items
        self._made: queue.Queue[tuple[str, Any]] = queue.Queue(most)
        self._stop = threading.Event()
        # An executor's thread would keep a process alive that ends while items are being made, or wait to be taken.
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
        """Make no more of them."""
        self._stop.set()

    def _make(self) -> None:
        last: tuple[str, Any] = ("end", None)
        try:
            for item in self._items:
                self._put(("item", item))
                if self._stop.is_set():
                    break
        except BaseException as error:  # handed to the thread that takes
            last = ("error", error)
        finally:
            with contextlib.suppress(Exception):  # a pipeline that is left early may say so
                getattr(self._items, "close", lambda: None)()
            self._put(last)

    def _put(self, made: tuple[str, Any]) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(made, timeout=_SECONDS_BETWEEN_LOOKS)
                return
