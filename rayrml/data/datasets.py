"""The samples of a run, and what they have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

from rayrml.data.sources import Source
from rayrml.data.transforms import Transforms


@dataclasses.dataclass(frozen=True)
class Datasets:
    """The samples of a run.

    Attributes:
        training: training samples, None without training.
        test: test samples, None without evaluation and inference.
        transforms: the transforms applied to samples.
        classes: names of the classes that label the samples, () if targets are not labels.
        shapes: (C, *spatial) of the network's inputs: one, or several if slicers cut samples of different shapes.
        target_shapes: the shape of their targets: () for a class, (K,) for values, (C, *spatial) for an array, None
            without targets.
        test_targets: whether test samples have targets.
        final_test: samples that are evaluated once after training, None without any.
        category_ids: COCO's id of each class, () without them.
    """

    training: Source | None
    test: Source | None
    transforms: Transforms
    classes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    target_shapes: tuple[tuple[int, ...] | None, ...]
    test_targets: bool
    final_test: Source | None = None
    category_ids: tuple[Any, ...] = ()

    @property
    def sources(self) -> dict[str, Source]:
        """All samples there are, by the field that holds them."""
        found = {"training": self.training, "test": self.test, "final_test": self.final_test}
        return {name: source for name, source in found.items() if source is not None}

    @property
    def counts_boxes(self) -> bool:
        """Whether targets are boxes."""
        return any(
            source.samples.boxes is not None and len(source.samples.boxes.classes) for source in self.sources.values()
        )

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of the numbers that are the targets, () if they are none."""
        return next((source.samples.value_names for source in self.sources.values()), ())

    @property
    def shape(self) -> tuple[int, ...]:
        """The first of the shapes."""
        return self.shapes[0]

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """The shape of the targets of inputs of this shape."""
        return self.target_shapes[0]
