"""Samples that a network is trained with and tested with."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from rayrml.data.datasets import Datasets
from rayrml.data.discovery import Samples
from rayrml.data.stacks import RowPlaces


def warn_of_shared(datasets: Datasets, *, divided: bool = False) -> Iterator[str]:
    """A sentence for each part of the tests that has samples of the training.

    Args:
        datasets: the samples.
        divided: whether training and test samples are two shares of the same files, which have none in common.
    """
    if datasets.training is None:
        return
    training = datasets.training.samples
    for name, source in datasets.sources.items():
        if name == "training" or (name == "test" and divided) or not _may_share(source.samples, training):
            continue
        known = set(_identities(training))
        shared = [number for number, identity in enumerate(_identities(source.samples)) if identity in known]
        if shared:
            what, count = f"{source.name} samples", len(source.samples)
            some = "all" if len(shared) == count else f"{len(shared)} of the"
            which = f"{some} {count} {what} are training samples, too, such as '{source.samples.name(shared[0])}'"
            yield f"{which}: figures of them say nothing about new samples"


def _may_share(samples: Samples, training: Samples) -> bool:
    """Whether samples can be in both, as far as it is known without a look at each of them: there may be millions."""
    if samples.root != training.root or not training.root:
        return False
    own, others = samples.places, training.places
    return not (isinstance(own, RowPlaces) and isinstance(others, RowPlaces)) or bool(
        set(own.arrays).intersection(others.arrays)
    )


def _identities(samples: Samples) -> Iterator[Hashable]:
    """What tells each sample from all others."""
    return iter(samples.names if samples.places is None else samples.places)
