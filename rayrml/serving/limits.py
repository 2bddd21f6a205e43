"""What a server accepts, and what it says of a request that it refuses."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus

MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts.

    Attributes:
        max_bytes: of a request's body.
        max_pixels: of an image, or values of an array.
        max_files: of a request.
        max_waiting: requests that are accepted and not yet answered.
        max_waiting_bytes: of the bodies of all of them together.
        read_seconds: for which a client may send nothing before its request is complete.
    """

    max_bytes: int = 32 * MEBIBYTE
    max_pixels: int = 50_000_000
    max_files: int = 256
    max_waiting: int = 512
    max_waiting_bytes: int = 512 * MEBIBYTE
    read_seconds: float = 30.0


class Refusal(Exception):
    """A request that is not answered with predictions: the status, and a sentence that says why."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(status, message)
        self.status = status
        self.message = message


def bad_request(message: str) -> Refusal:
    """The refusal of a request that is not as it should be."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def too_large(message: str) -> Refusal:
    """The refusal of a request that is above a limit."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def busy(message: str) -> Refusal:
    """The refusal of a request because too many others wait."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message)
