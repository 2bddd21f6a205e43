"""A worker's share of the samples, as batches of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from rayrml.boxes.batch import Boxes, OriginalBoxes
from rayrml.data.ahead import Ahead
from rayrml.data.box_labels import BoxTable
from rayrml.data.draws import Draws, mix_seed
from rayrml.data.places import in_rounds
from rayrml.data.sampling import Balanced, Picks
from rayrml.workers import Workers

_GATHERED_BYTES = 2**20


class Batch(NamedTuple):
    """Samples of one step.

    Attributes:
        input: (n, C, *spatial), of the type in which samples are stored.
        target: (n,) int64 class indices, (n, K) values, (n, C, *spatial) arrays, or boxes; None without targets.
        positions: (n,) indices of the samples in their `Samples`; a numpy array.
        uses: (n,) the same, but other numbers for samples that came before in their epoch: see `Picks`.
    """

    input: torch.Tensor
    target: torch.Tensor | OriginalBoxes | None
    positions: np.ndarray
    uses: np.ndarray

    def inputs_at(self, rows: np.ndarray) -> Batch:
        """Those of its samples for which `rows` (n,) is true, without targets."""
        return Batch(
            self.input[torch.from_numpy(rows).to(self.input.device)], None, self.positions[rows], self.uses[rows]
        )


class Shard(Protocol):
    """A source of batches for a worker."""

    def batches(self, sizes: Sequence[int], epoch: int | None, skip: int = 0) -> Iterator[Batch]:
        """Batches of these sizes; each of the shard's samples comes once, unless classes are balanced.

        Args:
            sizes: samples in each batch; zeros are allowed and give empty batches.
            epoch: the epoch whose training order is used, None for the shard's own order.
            skip: number of samples to skip at the beginning of the order.
        """
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class ResidentShard:
    """Samples that stay in memory as one tensor, on the compute device.

    An epoch is a permutation and one gather per batch: nothing is decoded, copied between processes or checked again.

    Args:
        inputs: (n, C, *spatial).
        targets: (n,) or (n, C, *spatial), None without targets.
        positions: (n,) indices of the samples.
        places: (n,) the place of each of them in its batch; None for samples that are in any batch.
        seed: determines the orders, together with the epoch; the same for all workers.
        used: (n,) which samples are used in batches, None for all.
        balanced: what an epoch consists of instead of each sample once; None if it does not.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor | None,
        positions: np.ndarray,
        *,
        places: np.ndarray | None = None,
        seed: Sequence[int] = (),
        used: np.ndarray | None = None,
        balanced: Balanced | None = None,
    ):
        self.inputs = inputs
        self.targets = targets
        self.positions = positions
        self.places = np.zeros(len(inputs), int) if places is None else places
        self.seed = seed
        self.rows = np.arange(len(inputs)) if used is None else np.flatnonzero(used)
        self.balanced = balanced

    def batches(self, sizes: Sequence[int], epoch: int | None, skip: int = 0) -> Iterator[Batch]:
        """Batches in the order of `epoch`, which depends only on the seed and the epoch."""
        order, picks = self._order(epoch)
        picked = order.to(self.inputs.device)
        start = skip
        for some in _together(sizes, self.inputs[:1].nbytes):
            end = start + sum(some)
            inputs = self.inputs.index_select(0, picked[start:end]).split(some)
            targets = None if self.targets is None else self.targets.index_select(0, picked[start:end]).split(some)
            for i, size in enumerate(some):
                own = picks.at(slice(start, start + size))
                yield Batch(inputs[i], None if targets is None else targets[i], own.samples, own.uses)
                start += size

    def close(self) -> None:
        """Nothing is being read."""

    def _order(self, epoch: int | None) -> tuple[torch.Tensor, Picks]:
        """The rows of `inputs` in the order of `epoch`, and the samples that they are."""
        if epoch is not None and self.balanced is not None:
            picks = self.balanced.picks(epoch)
            sorter = np.argsort(self.positions)
            rows = sorter[np.searchsorted(self.positions, picks.samples, sorter=sorter)]
            return torch.from_numpy(rows), picks
        keys = None
        if epoch is not None:
            draws = Draws(mix_seed(*self.seed, epoch), self.positions[self.rows])
            keys = draws.of("order").uniform(len(self.rows), 1)[:, 0]
        order = self.rows[in_rounds(self.places[self.rows], keys)]
        return torch.from_numpy(order), Picks.once(self.positions[order])


class StreamedShard:
    """Samples that are decoded again in each epoch, ahead of their use.

    The samples of all workers are shuffled together and dealt out in turn, so that a global batch contains the same
    samples for any number of workers.

    Args:
        read: (picks, epoch) -> blocks of consecutive samples: inputs, targets if any, and (n,) which samples can be
            used; a batch leaves out the others.
        samples: (n,) the samples of all workers, in their own order.
        workers: the workers that share them.
        seed: determines the orders, together with the epoch.
        num_epochs: the last epoch; the next epoch is begun halfway through the current one.
        balanced: what an epoch consists of instead of each sample once; None if it does not.
    """

    def __init__(
        self,
        read: Callable[[Picks, int | None], Iterator[tuple[np.ndarray, ...]]],
        samples: np.ndarray,
        *,
        workers: Workers,
        seed: Sequence[int] = (),
        num_epochs: int = 0,
        balanced: Balanced | None = None,
    ):
        self.read = read
        self.samples = samples
        self.workers = workers
        self.seed = seed
        self.num_epochs = num_epochs
        self.balanced = balanced
        self._begun: dict[int, Ahead[tuple[np.ndarray, ...]]] = {}

    def batches(self, sizes: Sequence[int], epoch: int | None, skip: int = 0) -> Iterator[Batch]:
        """Batches in the order of `epoch`, which depends only on the seed and the epoch."""
        mine = self._order(epoch).at(slice(skip, None))
        if not len(mine.samples):
            yield from [Batch(torch.empty(0), None, *mine)] * len(sizes)
            return
        blocks = self._begun.pop(epoch, None) if epoch is not None and not skip else None
        blocks = blocks or Ahead(self.read(mine, epoch))
        try:
            start = 0
            for number, (size, (*arrays, good)) in enumerate(zip(sizes, cut(blocks, sizes), strict=True), 1):
                if epoch is not None and 2 * number >= len(sizes):
                    self._begin(epoch + 1)
                own = mine.at(slice(start, start + size))
                input, *target = arrays if good.all() else [array[good] for array in arrays]
                positions, uses = own if good.all() else own.at(good)
                yield Batch(torch.from_numpy(input), torch.from_numpy(target[0]) if target else None, positions, uses)
                start += size
        finally:
            blocks.close()

    def close(self) -> None:
        """Stop reading."""
        for blocks in self._begun.values():
            blocks.close()
        self._begun.clear()

    def _begin(self, epoch: int) -> None:
        """Start reading a later epoch: its first samples take a while to arrive."""
        if epoch <= self.num_epochs and epoch not in self._begun:
            self._begun[epoch] = Ahead(self.read(self._order(epoch), epoch))

    def _order(self, epoch: int | None) -> Picks:
        """This worker's samples in the order of `epoch`."""
        if epoch is not None and self.balanced is not None:
            return self.balanced.picks(epoch)
        order = self.samples.copy()
        if epoch is not None:
            np.random.default_rng(mix_seed(*self.seed, epoch)).shuffle(order)
        # A copy: the order of all workers' samples would stay in memory beside it.
        return Picks.once(order[self.workers.rank :: self.workers.size].copy())


def _together(sizes: Sequence[int], sample_bytes: int) -> Iterator[list[int]]:
    """The sizes of batches to gather together, at least one: small batches cost less together than one by one."""
    most = max(_GATHERED_BYTES // max(sample_bytes, 1), 1)
    some: list[int] = []
    for size in sizes:
        if some and sum(some) + size > most:
            yield some
            some = []
        some.append(size)
    if some:
        yield some


def cut(blocks: Iterator[tuple[np.ndarray, ...]], sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, ...]]:
    """The rows of `blocks`, in order, in new arrays of the `sizes` given; a block's arrays are cut alike."""
    block = next(blocks, None)
    used = 0
    for size in sizes:
        pieces: list[tuple[np.ndarray, ...]] = []
        missing = size
        while block is not None and (missing > 0 or not pieces):
            piece = tuple(array[used : used + missing] for array in block)
            pieces.append(piece)
            missing -= len(piece[0])
            used += len(piece[0])
            if used == len(block[0]) and missing > 0:
                block, used = next(blocks, None), 0
        if missing or not pieces:
            raise ValueError(f"the blocks end {missing} rows short of a batch of {size}")
        yield tuple(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))


def boxes_of(table: BoxTable, images: np.ndarray) -> OriginalBoxes:
    """The boxes of these images (n,), in their order."""
    found = table.select(images)
    arrays = (found.corners, found.classes.astype(np.int64), found.ignored, found.starts)
    return OriginalBoxes(Boxes(*map(torch.from_numpy, arrays)), torch.from_numpy(found.sizes.astype(np.int64)))


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor` on the device; the CPU does not wait for a copy to a GPU."""
    if tensor.device == device:
        return tensor  # even a call to torch that does nothing takes microseconds
    if device.type == "cuda" and tensor.device.type == "cpu":
        # A GPU can fetch by itself only from pinned memory.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_numbers(arrays: torch.Tensor, *, pixels: bool) -> torch.Tensor:
    """Arrays as transforms and networks take them: pixels as bytes, all others as float32."""
    return arrays if pixels else arrays.float()
