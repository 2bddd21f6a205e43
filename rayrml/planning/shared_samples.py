"""Samples that a network is trained with and tested with."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from rayrml.data.datasets import Datasets
from rayrml.data.discovery import Samples


def warn_of_shared(datasets: Datasets) -> Iterator[str]:
    """A sentence for each part of the tests that has samples of the training."""
    if datasets.training is None:
        return
    training = datasets.training.samples
    for name, source in datasets.sources.items():
        if name == "training" or source.samples.root != training.root or not training.root:
            continue
        known = set(_identities(training))
        shared = [number for number, identity in enumerate(_identities(source.samples)) if identity in known]
        if shared:
            what, count = f"{source.name} samples", len(source.samples)
            some = "all" if len(shared) == count else f"{len(shared)} of the"
            which = f"{some} {count} {what} are training samples, too, such as '{source.samples.name(shared[0])}'"
            yield f"{which}: figures of them say nothing about new samples"


def _identities(samples: Samples) -> Iterator[Hashable]:
    """What tells each sample from all others."""
    return iter(samples.names if samples.places is None else samples.places)
