"""Transforms of samples: their table, the parsing of a list of them, and its two phases.

Each part of the table is a file with its rows at the end: `sizing`, `flipping`, `turning`, `values`, `adjustments`,
`trivial_augment`, and `mixing` and `mosaic` for transforms of inputs and targets together. A new row goes into the
closest file. Boxes follow images by each row's `motion` (`moving`), through a whole list and back (`with_boxes`).
"""

from rayrml.data.transforms.sequence import BatchTransforms, Transforms, split_transforms
from rayrml.data.transforms.table import TRANSFORMS, Placed, parse_transforms

__all__ = ["TRANSFORMS", "BatchTransforms", "Placed", "Transforms", "parse_transforms", "split_transforms"]
