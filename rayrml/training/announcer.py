"""Messages that wait until what they announce is on disk."""

from __future__ import annotations

import threading

from rayrml.reporting.messages import Emit, Message


class Announcer:
    """Forwards messages; between `hold` and `release` it queues them, in the order in which they came."""

    def __init__(self, emit: Emit):
        self._emit = emit
        self._lock = threading.RLock()
        self._holding = False
        self._waiting: list[Message] = []

    def __call__(self, message: Message) -> None:
        """Forward a message, or queue it."""
        with self._lock:
            if self._holding:
                self._waiting.append(message)
            else:
                self._emit(message)

    def hold(self) -> None:
        """Queue messages from now on."""
        with self._lock:
            self._holding = True

    def release(self) -> None:
        """Forward the queued messages, and every later one at once."""
        with self._lock:
            self._holding = False
            waiting, self._waiting = self._waiting, []
            for message in waiting:
                self._emit(message)
