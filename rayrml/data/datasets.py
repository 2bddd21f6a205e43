"""The samples of a run, and what they have in common."""

from __future__ import annotations

import dataclasses

from rayrml.data.pipeline import Source
from rayrml.data.transforms import Transforms


@dataclasses.dataclass(frozen=True)
class Datasets:
    """The samples of a run.

    Attributes:
        training: training samples, None without training.
        test: test samples, None without evaluation and inference.
        transforms: the transforms applied to samples.
        classes: names of the classes that label the samples, () if targets are not labels.
        shape: (C, *spatial) of the network's inputs.
        target_shape: shape of a target: () for a class, (C, *spatial) for an array, None if there are no targets.
        test_targets: whether test samples have targets.
    """

    training: Source | None
    test: Source | None
    transforms: Transforms
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    test_targets: bool
