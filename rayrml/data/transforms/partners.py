"""The samples with which transforms mix samples: any others of the global batch, whichever worker has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from rayrml.boxes.batch import Boxes, join_images
from rayrml.workers import Workers


class _Part(NamedTuple):
    """What the other workers know of a worker's part of a global batch.

    Attributes:
        positions: (n,) which samples they are.
        keys: (n,) a random number of each.
        kinds: shape without the first axis and type of each of its tensors; empty if the part is.
    """

    positions: np.ndarray
    keys: np.ndarray
    kinds: tuple[tuple[tuple[int, ...], torch.dtype], ...]


class _Moves(NamedTuple):
    """How workers exchange samples.

    Attributes:
        sent: which of this worker's samples are sent, those for the first worker first.
        counts_sent: how many are sent to each worker.
        counts_received: how many come from each worker.
        order: (n,) for each of this worker's samples, which of those that come is its partner.
    """

    sent: torch.Tensor
    counts_sent: list[int]
    counts_received: list[int]
    order: torch.Tensor


def find_partners(keys: np.ndarray, positions: np.ndarray, steps: int = 1) -> np.ndarray:
    """(n,) the number of each sample's partner, so many steps further in a random cycle through all samples.

    No sample is its own partner at one step, unless it is alone, and each is the partner of one. The cycle follows from
    the random `keys` (n,) and `positions` (n,) of the samples, and not from their order.
    """
    cycle = np.lexsort((positions, keys))
    partners = np.empty_like(cycle)
    partners[cycle] = np.roll(cycle, -steps)
    return partners


def fetch_partners(
    samples: Sequence[torch.Tensor], keys: np.ndarray, positions: np.ndarray, workers: Workers
) -> list[torch.Tensor]:
    """The partners of this worker's samples; all workers must call it, also those without samples.

    Several workers exchange samples: each receives as many as it has.

    Args:
        samples: tensors (n, ...): inputs and, if there are any, targets.
        keys: (n,) random numbers that determine the partners.
        positions: (n,) which samples they are.
        workers: the workers whose parts make up the batch.
    """
    if workers.size == 1:
        partners = torch.from_numpy(find_partners(keys, positions))
        return [tensor[partners.to(tensor.device, non_blocking=True)] for tensor in samples]
    parts: list[_Part] = workers.gather(_Part(positions, keys, _kinds_of(samples)))
    return _exchange(samples, parts, 1, workers)


def fetch_images(
    images: torch.Tensor, boxes: Boxes, keys: np.ndarray, positions: np.ndarray, *, number: int, workers: Workers
) -> list[tuple[torch.Tensor, Boxes]]:
    """Several partners of each of this worker's images, with their boxes; [] if the global batch has one image alone.

    All workers must call it, also those without images. The partners of an image differ if there are enough images.

    Args:
        images: (n, C, H, W).
        boxes: those of the images, on the CPU.
        keys: (n,) random numbers that determine the partners.
        positions: (n,) which samples the images are.
        number: the number of partners.
        workers: the workers whose parts make up the batch.
    """
    gathered: list[tuple[_Part, Boxes]] = workers.gather((_Part(positions, keys, _kinds_of([images])), boxes))
    parts = [part for part, _ in gathered]
    all_boxes = join_images([some for _, some in gathered])
    counts = [len(part.keys) for part in parts]
    mine = slice(sum(counts[: workers.rank]), sum(counts[: workers.rank + 1]))
    found: list[tuple[torch.Tensor, Boxes]] = []
    for tile in range(number if sum(counts) > 1 else 0):
        steps = 1 + tile % (sum(counts) - 1)
        (others,) = _exchange([images], parts, steps, workers)
        found.append((others, all_boxes.select(torch.from_numpy(_partners_of(parts, steps)[mine]))))
    return found


def _kinds_of(samples: Sequence[torch.Tensor]) -> tuple[tuple[tuple[int, ...], torch.dtype], ...]:
    return tuple((tuple(tensor.shape[1:]), tensor.dtype) for tensor in samples) if len(samples[0]) else ()


def _exchange(
    samples: Sequence[torch.Tensor], parts: Sequence[_Part], steps: int, workers: Workers
) -> list[torch.Tensor]:
    """The partners of this worker's samples, so many steps further in the cycle through all workers' samples."""
    kinds = next((part.kinds for part in parts if part.kinds), ())
    moves = _plan(parts, steps, workers.rank)
    device = samples[0].device
    sent, order = moves.sent.to(device), moves.order.to(device)
    found: list[torch.Tensor] = []
    for number, (shape, dtype) in enumerate(kinds):
        own = samples[number] if len(samples[0]) else torch.empty((0, *shape), dtype=dtype, device=device)
        found.append(workers.exchange(own[sent], moves.counts_sent, moves.counts_received)[order])
    return found


def _partners_of(parts: Sequence[_Part], steps: int) -> np.ndarray:
    """(n,) the numbers of the partners of all samples, those of the first worker first."""
    keys = np.concatenate([part.keys for part in parts])
    return find_partners(keys, np.concatenate([part.positions for part in parts]), steps)


def _plan(parts: Sequence[_Part], steps: int, rank: int) -> _Moves:
    counts = [len(part.keys) for part in parts]
    partners = _partners_of(parts, steps)
    owner = np.repeat(np.arange(len(parts)), counts)[partners]  # of each sample's partner
    place = np.concatenate([np.arange(count) for count in counts])[partners]  # of the partner in its owner's part
    wanting = np.repeat(np.arange(len(parts)), counts)  # the worker that has each sample
    mine = owner == rank
    order = np.empty(counts[rank], np.int64)
    order[np.argsort(owner[wanting == rank], kind="stable")] = np.arange(counts[rank])
    return _Moves(
        torch.from_numpy(place[mine]),
        np.bincount(wanting[mine], minlength=len(parts)).tolist(),
        np.bincount(owner[wanting == rank], minlength=len(parts)).tolist(),
        torch.from_numpy(order),
    )
