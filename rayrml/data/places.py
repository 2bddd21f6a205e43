"""The places of samples in batches: samples that workers keep are in the same batches for any number of workers.

Samples are dealt out to as many places as a batch has, and the places to the workers, both in turn. A batch takes one
sample of each place. So all samples of a place are one worker's, and the parts of a batch are even.
"""

from __future__ import annotations

import numpy as np


def deal_places(num_samples: int, batch_size: int) -> np.ndarray:
    """(num_samples,) the place of each sample, from 0 to `batch_size` - 1."""
    return np.arange(num_samples) % batch_size


def in_rounds(places: np.ndarray, keys: np.ndarray | None = None) -> np.ndarray:
    """(n,) the order in which samples at these `places` (n,) are used: one of each place, then the next one of each.

    Args:
        places: of the samples.
        keys: (n,) those of a place come in the order of these numbers; None for their own order.
    """
    order = np.argsort(places, kind="stable") if keys is None else np.lexsort((keys, places))
    return order[np.lexsort((places[order], _ranks(places[order])))]


def in_turns(places: np.ndarray) -> np.ndarray:
    """(n,) the order in which samples at these `places` (n,) are used, if those of each place are spread evenly.

    Those of a place keep their order.
    """
    order = np.argsort(places, kind="stable")
    ranks = _ranks(places[order])
    counts = np.bincount(places)[places[order]]
    return order[np.argsort((ranks + 0.5) / counts, kind="stable")]


def _ranks(places: np.ndarray) -> np.ndarray:
    """(n,) which of its place each sample is, for `places` (n,) in ascending order."""
    if not len(places):
        return places
    starts = np.flatnonzero(np.diff(places, prepend=places[0] - 1))
    return np.arange(len(places)) - np.repeat(starts, np.diff(np.append(starts, len(places))))
