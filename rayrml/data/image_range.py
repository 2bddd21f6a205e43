"""What black and white are in images as a network takes them."""

from __future__ import annotations

import numpy as np

from rayrml.data.readers import Reader
from rayrml.data.transforms import BatchTransforms
from rayrml.data.transforms.values import Normalize
from rayrml.endings import Range


def find_image_range(reader: Reader, transforms: BatchTransforms) -> Range | None:
    """Black and white after the transforms, as the lowest and highest number of any channel; None if not known.

    Args:
        reader: of the images.
        transforms: those of batches; no other transform changes the range of pixels.
    """
    if not reader.pixels:
        return None
    low, high = np.zeros(1), np.ones(1)
    for step in transforms.evaluation().steps:
        transform = step.transform
        if step.part == "target":
            continue
        if isinstance(transform, Normalize):
            mean, std = np.asarray(transform.mean, np.float64), np.asarray(transform.std, np.float64)
            low, high = (low - mean) / std, (high - mean) / std
    return float(low.min()), float(high.max())
