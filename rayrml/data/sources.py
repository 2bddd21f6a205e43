"""The samples of a run and how each becomes an array: what is known of them before any of them is decoded.

Neither torch nor Ray is needed for this.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rayrml import storage
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples
from rayrml.workers import global_batch_sizes


@dataclasses.dataclass(frozen=True)
class Side:
    """The inputs or targets of samples.

    Attributes:
        samples: where they are stored.
        decoding: how each becomes an array.
        pixels: whether arrays are fractions of white, floats or bytes; other values are used as they are.
    """

    samples: Samples
    decoding: Decoding
    pixels: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial) of every array, or of the first slicer's."""
        return self.decoding.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of every array in memory."""
        return self.decoding.dtype

    @property
    def landmarks(self) -> list[str]:
        """The first and the last file: a node that has these has the others; none if arrays are in memory."""
        samples = self.samples
        if not samples.root and samples.places is None:
            return []
        return [storage.stored_in(path) for i in (0, len(samples) - 1) if (path := samples.path(i))]

    @property
    def bytes_per_sample(self) -> int:
        """Size of the largest array in bytes."""
        return max(map(math.prod, self.decoding.shapes or (self.shape,))) * self.dtype.itemsize

    def of_shape(self, shape: tuple[int, ...]) -> Side:
        """The same side for its samples of one shape."""
        return dataclasses.replace(self, decoding=dataclasses.replace(self.decoding, shape=shape, shapes=()))


@dataclasses.dataclass(frozen=True)
class Source:
    """Samples for training, evaluation or inference.

    Attributes:
        input: the network's inputs.
        target: target arrays, None if targets are labels or there are none.
        name: name of the dataset on the dashboard.
        here: whether this process decodes all samples, because they are in its memory.
    """

    input: Side
    target: Side | None
    name: str
    here: bool = False

    @property
    def samples(self) -> Samples:
        """The files of the inputs, with labels if there are any."""
        return self.input.samples

    @property
    def shape(self) -> tuple[int, ...]:
        """The inputs' shape (C, *spatial); the first slicer's if they differ."""
        return self.input.shape

    @property
    def sides(self) -> dict[str, Side]:
        """The sides that are read from files."""
        return {"input": self.input} | ({} if self.target is None else {"target": self.target})

    @property
    def decodings(self) -> dict[str, Decoding]:
        """How each side is read, for the tasks that read it."""
        return {name: side.decoding for name, side in self.sides.items()}

    def randomized(self) -> Source:
        """The same samples with random numbers for what each side does with them when they are decoded."""
        target = None if self.target is None else _randomized(self.target)
        return dataclasses.replace(self, input=_randomized(self.input), target=target)

    @property
    def random(self) -> bool:
        """Whether samples are others in each epoch already when they are decoded, so that they cannot be kept."""
        return any(decoding.random for decoding in self.decodings.values())

    @property
    def landmarks(self) -> list[str]:
        """The first and the last file of each side."""
        return [path for side in self.sides.values() for path in side.landmarks]

    @property
    def bytes_per_sample(self) -> int:
        """Size of the largest decoded sample in bytes."""
        return sum(side.bytes_per_sample for side in self.sides.values())

    @property
    def bytes_in_total(self) -> int:
        """Size of all decoded samples in bytes."""
        return sum(group.source.bytes_per_sample * len(group.indices) for group in self.groups())

    def only(self, indices: Sequence[int] | np.ndarray) -> Source:
        """The same source for its samples at `indices`, which are no slices."""
        sides = [dataclasses.replace(side, samples=side.samples.only(indices)) for side in self.sides.values()]
        return dataclasses.replace(self, input=sides[0], target=sides[1] if sides[1:] else None)

    def groups(self) -> tuple[Group, ...]:
        """The samples of each shape, in the order of the slicers that cut them; one group if all have one shape."""
        if not any(side.decoding.shapes for side in self.sides.values()):
            return (Group(self, np.arange(len(self.samples))),)
        slicers = self.input.decoding.slicers
        of_sides = [side.decoding.shapes or (side.shape,) * len(slicers) for side in self.sides.values()]
        shapes = dict(zip(slicers, zip(*of_sides, strict=True), strict=True))
        kinds = {pair: kind for kind, pair in enumerate(dict.fromkeys(shapes.values()))}
        parts = self.samples.slices
        kind_of_sample = np.repeat(
            [kinds[shapes[part.grid.slicer]] for part in parts], [len(part.grid) for part in parts]
        )
        members = [np.flatnonzero(kind_of_sample == kind) for kind in kinds.values()]
        return tuple(Group(self._of_shapes(pair), own) for pair, own in zip(kinds, members, strict=True))

    def count_batches(self, batch_size: int) -> int:
        """How many batches of at most `batch_size` samples of one shape there are."""
        return sum(len(global_batch_sizes(len(group.indices), batch_size)) for group in self.groups())

    def _of_shapes(self, shapes: Sequence[tuple[int, ...]]) -> Source:
        """The same source for its samples of one shape on each side."""
        sides = [side.of_shape(shape) for side, shape in zip(self.sides.values(), shapes, strict=True)]
        return dataclasses.replace(self, input=sides[0], target=sides[1] if sides[1:] else None)


class Group(NamedTuple):
    """Samples of one shape, which can be in one batch.

    Attributes:
        source: the source that they are from, which knows their shape as that of all samples.
        indices: (n,) which of the source's samples they are, in ascending order.
    """

    source: Source
    indices: np.ndarray


def _randomized(side: Side) -> Side:
    decoding = side.decoding
    if decoding.vary is None:
        return side
    return dataclasses.replace(side, decoding=dataclasses.replace(decoding, random=decoding.vary.random))
