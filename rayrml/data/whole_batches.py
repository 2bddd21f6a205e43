"""Decoded samples as whole batches, in whatever pieces and order they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from rayrml.data.decode_tasks import Decoded


def in_whole_batches(blocks: Iterable[Decoded], size: int, count: int) -> Iterator[Decoded]:
    """The inputs and errors of `count` samples as batches of `size`, each when the last of its samples has arrived.

    The batches begin at the multiples of `size`; the last one has the rest. Beside the blocks themselves, memory holds
    the batches of which some samples are missing: one or two for each task at a time.
    """
    waiting: dict[int, list[Decoded]] = {}
    for block in blocks:
        for piece in _divide(block, size):
            number = piece.first // size
            pieces = [*waiting.pop(number, ()), piece]
            if sum(len(each.inputs) for each in pieces) < min(size, count - number * size):
                waiting[number] = [*pieces[:-1], _copy(piece)]  # which lets go of the block
            else:
                yield _join(sorted(pieces, key=lambda each: each.first))


def _divide(block: Decoded, size: int) -> Iterator[Decoded]:
    """The parts of a block that belong to one batch each."""
    begin, end = block.first, block.first + len(block.inputs)
    while begin < end:
        until = min((begin // size + 1) * size, end)
        rows = slice(begin - block.first, until - block.first)
        yield Decoded(begin, block.inputs[rows], None, block.errors[rows])
        begin = until


def _join(pieces: list[Decoded]) -> Decoded:
    if len(pieces) == 1:
        return pieces[0]
    inputs, errors = (np.concatenate([getattr(each, name) for each in pieces]) for name in ("inputs", "errors"))
    return Decoded(pieces[0].first, inputs, None, errors)


def _copy(piece: Decoded) -> Decoded:
    return Decoded(piece.first, piece.inputs.copy(), None, piece.errors.copy())
