"""A batch that is computed in parts, one after the other."""

from __future__ import annotations

import itertools

from rayrml.workers import Workers


def micro_batches(num_samples: int, most: int, own: int, *, workers: Workers, begin: int) -> list[slice]:
    """This worker's part of each micro-batch of a global batch, as slices of its `own` samples; they may be empty.

    A micro-batch has the same samples for any number of workers, as these get samples in turn. Their sizes differ by at
    most one.

    Args:
        num_samples: samples of the global batch, at least 1.
        most: number of micro-batches, if there are as many samples.
        own: this worker's samples.
        workers: the workers that share the batch.
        begin: samples that were dealt out before this batch.
    """
    if most == 1:
        return [slice(0, own)]  # as below, but nothing is to be computed in each step
    count = min(most, num_samples)
    first = (workers.rank - begin) % workers.size  # of this worker's samples, as a number within the global batch
    ends = [-((first - num_samples * i // count) // workers.size) for i in range(count)]
    return [slice(a, b) for a, b in itertools.pairwise([*(min(max(end, 0), own) for end in ends), own])]
