"""Transforms of samples: a table of rows, how a list of them is read, and its two phases.

Each chapter of the table is a file with its rows at its foot: `sizing`, `flipping`, `turning`, `values`, `adjustments`,
`trivial_augment`, and `mixing` for what changes inputs and targets together. A new row goes into the nearest chapter.
"""

from rayrml.data.transforms.sequence import BatchTransforms, Transforms, split_transforms
from rayrml.data.transforms.table import TRANSFORMS, Placed, parse_transforms

__all__ = ["TRANSFORMS", "BatchTransforms", "Placed", "Transforms", "parse_transforms", "split_transforms"]
