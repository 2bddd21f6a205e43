"""How workers send messages to the driver: through an actor that keeps them until the driver takes them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray

from rayrml.reporting.messages import BatchesTrained, BatchRow, Message

_SECONDS_BETWEEN_QUESTIONS = 0.25

Stamp = tuple[str, int]


class Mailbox:
    """The actor. When the driver calls `take` again, the messages taken before count as written."""

    def __init__(self) -> None:
        self._messages: list[tuple[Message, Stamp | None]] = []
        self._taken: Stamp | None = None
        self._written: Stamp | None = None
        self._wish = False
        self._stopped = False

    def put(self, message: Message, stamp: Stamp | None = None) -> None:
        """Keep a message; if it has a stamp (the worker and a number), `heard` confirms it."""
        self._messages.append((message, stamp))

    def take(self, wish: bool = False) -> list[Message]:
        """The messages since the last call. `wish` says whether the workers should stop."""
        self._wish = wish
        self._written = self._taken
        taken, self._messages = self._messages, []
        self._taken = next((stamp for _, stamp in reversed(taken) if stamp), self._taken)
        return [message for message, _ in taken]

    def heard(self) -> tuple[bool, Stamp | None]:
        """Whether the workers should stop, and the stamp of the last message that the driver has written."""
        return self._wish, self._written

    def arrived(self) -> None:
        """Return once everything that the caller has put before has arrived."""

    def stop(self) -> None:
        """Make workers that Ray restarts end at once."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped


class Connection:
    """A worker's connection to the mailbox.

    A worker that `listens` polls now and then, and never waits for a reply. One of them does: workers tell each other
    what they are asked for, and a mailbox answers no more than a thousand questions a second.
    """

    def __init__(self, mailbox: Any, *, listens: bool = True):
        self._mailbox = mailbox
        self._listens = listens
        self._life = uuid.uuid4().hex
        self._unwritten: list[tuple[int, list[BatchRow]]] = []
        self._count = 0
        self._asked = time.monotonic()
        self._answer = mailbox.heard.remote() if listens else None
        self._wish = False

    def emit(self, message: Message) -> None:
        """Send a message."""
        if not isinstance(message, BatchesTrained):
            self._mailbox.put.remote(message)
            return
        self._count += 1
        self._unwritten.append((self._count, message.rows))
        self._mailbox.put.remote(message, (self._life, self._count))

    def asked_to_stop(self) -> bool:
        """Whether the driver wants the workers to stop, as of the last poll; False if the worker does not listen."""
        if self._listens and time.monotonic() - self._asked >= _SECONDS_BETWEEN_QUESTIONS:
            self._ask()
        return self._wish

    def unwritten(self) -> Sequence[BatchRow]:
        """The rows that would be lost if the driver or its machine failed now."""
        self._ask()
        return [row for _, rows in self._unwritten for row in rows]

    def settle(self) -> None:
        """Wait until all messages have arrived."""
        ray.get(self._mailbox.arrived.remote())

    def _ask(self) -> None:
        """If the last poll's reply has arrived, take it and send the next poll."""
        if self._answer is None:
            return
        ready, _ = ray.wait([self._answer], timeout=0)
        self._asked = time.monotonic()
        if not ready:
            return
        wish, written = ray.get(self._answer)
        self._wish = self._wish or bool(wish)
        if written is not None and written[0] == self._life:
            self._unwritten = [sent for sent in self._unwritten if sent[0] > written[1]]
        self._answer = self._mailbox.heard.remote()
