"""The boxes of training in pixels of the network's input, as evaluations have them."""

from __future__ import annotations

import functools

import numpy as np
import torch

from rayrml.boxes.batch import Boxes
from rayrml.data.datasets import Datasets
from rayrml.data.shards import boxes_of


class TrainingBoxes:
    """The boxes of all training images in pixels of the network's input; they are moved there once, when first used.

    Attributes:
        datasets: the samples.
    """

    def __init__(self, datasets: Datasets):
        self.datasets = datasets

    @functools.cached_property
    def boxes(self) -> Boxes | None:
        """None if nothing is trained, or the samples have no boxes."""
        training = self.datasets.training
        if training is None or training.samples.boxes is None:
            return None
        original = boxes_of(training.samples.boxes, np.arange(len(training.samples)))
        return self.datasets.transforms.evaluated_boxes(original.boxes, original.sizes)

    @functools.cached_property
    def sizes(self) -> torch.Tensor | None:
        """(n, 2) width and height of the boxes that are to be found; None likewise."""
        if self.boxes is None:
            return None
        corners = self.boxes.corners[~self.boxes.ignored]
        return corners[:, 2:] - corners[:, :2]
