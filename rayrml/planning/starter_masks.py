"""What the masks of a folder of images hold: their class numbers, and the number that stands for no class."""

from __future__ import annotations

import dataclasses

import numpy as np

from rayrml.data.discovery import Samples
from rayrml.data.readers.masks import masks
from rayrml.errors import DataError, Problem

_MOST_LOOKED_AT = 100
_WHITE = 255
_MOST_CLASSES = 256  # of masks of 16 bits: more are the numbers of objects
_MOST_NUMBERS, _GAPS = 200, 16  # different ones, and how many more than twice as many may lie below the largest
_FEWEST_BEFORE_GAP = 128  # numbers up to 254 are classes; 255 after numbers below this stands for no class


@dataclasses.dataclass(frozen=True)
class MaskClasses:
    """The numbers in masks.

    Attributes:
        num_classes: classes that pixels can have.
        numbers: what some of the masks hold, in ascending order.
        ignored: the number that stands for no class, None if there is none.
    """

    num_classes: int
    numbers: tuple[int, ...]
    ignored: int | None = None


def look_at_masks(samples: Samples) -> MaskClasses:
    """The class numbers that evenly sampled masks hold.

    Masks of 0 and 255 alone have two classes; beside small numbers, 255 stands for no class.

    Raises:
        DataError: none can be read, or they hold no class numbers.
    """
    reader = masks(two_shades=True)
    held: dict[int, str] = {}
    problems: list[Problem] = []
    for index in samples.spread(_MOST_LOOKED_AT):
        path = samples.path(index)
        try:
            values = np.unique(reader.decode(path))
        except DataError as error:
            problems += error.problems
            continue
        if values.dtype.kind == "f" or values.min() < 0 or values.max() >= _MOST_CLASSES:
            message = f"holds numbers from {values.min():g} to {values.max():g}. Expected class numbers from 0 to 255"
            raise DataError(Problem(path, message))
        held |= dict.fromkeys(values.tolist(), path)
    if not held:
        raise DataError(problems[0])
    numbers = tuple(sorted(held))
    if set(numbers) <= {0, _WHITE}:
        return MaskClasses(2, numbers)
    others = [number for number in numbers if number != _WHITE]
    ignored = _WHITE if _WHITE in numbers and max(others) < _FEWEST_BEFORE_GAP else None
    classes = others if ignored is not None else numbers
    if max(classes) > 2 * len(classes) + _GAPS or len(classes) > _MOST_NUMBERS:
        shown = ", ".join(map(str, classes[:10]))
        message = f"hold the numbers {shown}{', ...' if len(classes) > 10 else ''}, which look like shades of gray"
        raise DataError(
            Problem(samples.root, f"the masks {message}. Expected class numbers 0, 1, 2, ..., or 0 and 255")
        )
    return MaskClasses(max(max(classes) + 1, 2), numbers, ignored)
