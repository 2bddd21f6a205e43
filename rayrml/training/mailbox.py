"""How workers speak to the driver: an actor that keeps what they say until the driver has taken it."""

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
    """The actor. What was taken from it is taken to be written down when the driver asks again."""

    def __init__(self) -> None:
        self._messages: list[tuple[Message, Stamp | None]] = []
        self._taken: Stamp | None = None
        self._written: Stamp | None = None
        self._wish = False
        self._stopped = False

    def put(self, message: Message, stamp: Stamp | None = None) -> None:
        """Keep a message; one with a stamp, the worker and a number, is confirmed in `heard`."""
        self._messages.append((message, stamp))

    def take(self, wish: bool = False) -> list[Message]:
        """What has come since the last call. `wish` says whether the workers are to stop."""
        self._wish = wish
        self._written = self._taken
        taken, self._messages = self._messages, []
        self._taken = next((stamp for _, stamp in reversed(taken) if stamp), self._taken)
        return [message for message, _ in taken]

    def heard(self) -> tuple[bool, Stamp | None]:
        """Whether the workers are to stop, and the stamp of the last message that the driver has written down."""
        return self._wish, self._written

    def arrived(self) -> None:
        """Answered when everything that the caller has put before is here."""

    def stop(self) -> None:
        """Let workers that Ray starts again end at once."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped


class Connection:
    """A worker's line to the mailbox. It asks now and then and never waits for an answer that is not there yet."""

    def __init__(self, mailbox: Any):
        self._mailbox = mailbox
        self._life = uuid.uuid4().hex
        self._unwritten: list[tuple[int, list[BatchRow]]] = []
        self._count = 0
        self._asked = time.monotonic()
        self._answer = mailbox.heard.remote()
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
        """Whether the driver wishes the workers to stop, as it was a moment ago."""
        if time.monotonic() - self._asked >= _SECONDS_BETWEEN_QUESTIONS:
            self._ask()
        return self._wish

    def unwritten(self) -> Sequence[BatchRow]:
        """The rows that are lost if the driver or its machine is lost now."""
        self._ask()
        return [row for _, rows in self._unwritten for row in rows]

    def settle(self) -> None:
        """Wait until all messages have arrived."""
        ray.get(self._mailbox.arrived.remote())

    def _ask(self) -> None:
        """Take the answer to the last question if it is there, and ask the next one."""
        ready, _ = ray.wait([self._answer], timeout=0)
        self._asked = time.monotonic()
        if not ready:
            return
        wish, written = ray.get(self._answer)
        self._wish = self._wish or bool(wish)
        if written is not None and written[0] == self._life:
            self._unwritten = [sent for sent in self._unwritten if sent[0] > written[1]]
        self._answer = self._mailbox.heard.remote()
