"""What an epoch of training consists of if each class is to come equally often. Neither torch nor Ray is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rayrml.data.draws import mix_seed
from rayrml.data.places import in_turns
from rayrml.workers import Workers


class Picks(NamedTuple):
    """Samples in the order of an epoch.

    Attributes:
        samples: (n,) which samples they are.
        uses: (n,) a number of its own for each of them, which determines its random numbers: the sample's, or another
            one if the sample came before in the epoch. The same for any number of workers.
    """

    samples: np.ndarray
    uses: np.ndarray

    @classmethod
    def once(cls, samples: np.ndarray) -> Picks:
        """Samples each of which comes once."""
        return cls(samples, samples)

    def at(self, index: slice | np.ndarray) -> Picks:
        """Some of them."""
        return Picks(self.samples[index], self.uses[index])


class Balanced:
    """The training samples of all workers, of which an epoch has as many, but those of each class equally often.

    Classes differ by at most one sample, and the samples of a class are drawn equally often, except for a remainder of
    random ones that are drawn once more. Nothing of this depends on the number of workers.

    Args:
        samples: (n,) which samples they are, in the same order in all workers.
        labels: (n,) the class of each.
        seed: determines what is drawn, together with the epoch.
        workers: the workers that share them.
        places: (n,) the place in batches of each of them, whose worker keeps it; None if each worker can read all.
    """

    def __init__(
        self,
        samples: np.ndarray,
        labels: np.ndarray,
        *,
        seed: Sequence[int],
        workers: Workers,
        places: np.ndarray | None = None,
    ):
        self.samples = samples
        self.labels = labels
        self.seed = seed
        self.workers = workers
        self.places = places

    def picks(self, epoch: int) -> Picks:
        """This worker's samples in the order of `epoch`."""
        picks, rows = self._draw(epoch)
        if self.places is None:
            return picks.at(slice(self.workers.rank, None, self.workers.size))
        return picks.at(self._mine(rows))

    def parts(self, epoch: int, batch_size: int) -> list[int]:
        """How many samples of each global batch of `epoch` are this worker's."""
        if self.places is None:
            return self.workers.batch_sizes(len(self.samples), batch_size)
        return self.workers.count_own(self._mine(self._draw(epoch)[1]), batch_size)

    def _mine(self, rows: np.ndarray) -> np.ndarray:
        """(n,) which of these samples this worker keeps."""
        return np.empty(0, bool) if self.places is None else self.workers.keeps(self.places[rows])

    def _draw(self, epoch: int) -> tuple[Picks, np.ndarray]:
        """All workers' samples in the order of an epoch, and which of `samples` they are."""
        generator = np.random.default_rng(mix_seed(*self.seed, epoch))
        rows = draw_equally(self.labels, generator)
        picks, order = Picks(self.samples[rows], number_uses(self.samples[rows])), generator.permutation(len(rows))
        if self.places is not None:
            order = order[in_turns(self.places[rows[order]])]
        return picks.at(order), rows[order]


def draw_equally(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n,) positions in `labels` (n,), of each class equally often; class by class.

    If n is no multiple of the number of classes, random ones come once more.
    """
    if not len(labels):
        return np.empty(0, int)
    classes, counts = np.unique(labels, return_counts=True)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    quotas = np.full(len(classes), len(labels) // len(classes))
    quotas[generator.permutation(len(classes))[: len(labels) - quotas.sum()]] += 1
    drawn: list[np.ndarray] = []
    for own, quota in zip(members, quotas.tolist(), strict=True):
        passes, rest = divmod(quota, len(own))
        drawn += [np.tile(own, passes), generator.permutation(own)[:rest]]
    return np.concatenate(drawn)


def number_uses(samples: np.ndarray) -> np.ndarray:
    """(n,) different numbers: the sample's where it comes first, and those of no sample where it comes again."""
    uses = samples.copy()
    again = np.ones(len(samples), bool)
    again[np.unique(samples, return_index=True)[1]] = False
    uses[again] = samples.max(initial=0) + 1 + np.arange(again.sum())
    return uses
