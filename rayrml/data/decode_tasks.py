"""The work of one decoding task as rows of a table, and the same work done in this process. Ray is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from rayrml.data.decoding import Decoder, pack
from rayrml.data.sampling import Picks
from rayrml.data.sources import Source
from rayrml.data.task_sizes import Window


class Decoded(NamedTuple):
    """Some samples in the requested order.

    Attributes:
        first: position of the first one in the list of requested indices.
        inputs: (n, C, *spatial); zeros where a sample could not be decoded.
        targets: the same for target arrays, None if there are none.
        errors: (n,) what is wrong with each sample, "" if nothing is.
    """

    first: int
    inputs: np.ndarray
    targets: np.ndarray | None
    errors: np.ndarray


def make_task(source: Source, picks: Picks, first: int, seed: int | None) -> dict[str, Any]:
    """The row from which a task decodes samples: `first`, the position of the first one, and the places of each side.

    `seed` determines their random numbers, if they have any.
    """
    numbers = {"seed": seed, "positions": picks.uses.astype(np.int64).tobytes()} if source.random else {}
    places = {name: pack(side.samples, picks.samples) for name, side in source.sides.items()}
    return {"first": first} | places | (numbers if seed is not None else {})


def make_tasks(source: Source, picks: Picks, seed: int | None, window: Window) -> list[dict[str, Any]]:
    """The rows of the tasks of a window."""
    return [make_task(source, picks.at(slice(begin, end)), begin, seed) for begin, end in window]


def do_task(decoder: Decoder, task: dict[str, Any]) -> Iterator[Decoded]:
    """Do the work of a task in this process."""
    for block in decoder({key: np.array([value], object) for key, value in task.items()}):
        yield as_decoded(block, 0)


def decode_now(source: Source, picks: Picks, seed: int | None = None) -> Decoded:
    """Samples of one shape, decoded in this process at once; `seed` determines their random numbers, if any."""
    (decoded,) = do_task(Decoder(source.decodings, max(len(picks.samples), 1)), make_task(source, picks, 0, seed))
    return decoded


def as_decoded(block: dict[str, np.ndarray], offset: int) -> Decoded:
    """What a task has yielded, at a position that is `offset` later."""
    return Decoded(offset + int(block["place"][0]), block["input"], block.get("target"), block["error"])
