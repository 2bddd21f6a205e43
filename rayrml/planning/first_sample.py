"""The sample that determines the shape and the type of all others."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rayrml.data.addresses import Place
from rayrml.data.bad_samples import TOO_MANY
from rayrml.data.decoding import check_cells, sample_shape
from rayrml.data.discovery import Samples
from rayrml.data.readers import Reader
from rayrml.errors import MOST_NAMED, DataError, Problem
from rayrml.storage.archives import check_memory

_MOST_MISFITS = 16  # samples of another shape than the network's: if all are, it is no odd one


def find_first(
    samples: Samples, reader: Reader, fits: Callable[[tuple[int, ...]], bool], *, skips_bad: bool
) -> tuple[Place, tuple[int, ...], np.dtype]:
    """The sample that determines the shape, with its shape and type: the first one.

    If bad samples are skipped, it is the first readable one whose shape `fits`, or else the first readable one.

    Raises:
        DataError: none of the first half is readable; trying the rest would take too long.
    """
    problems: list[DataError] = []
    misfits: list[tuple[Place, tuple[int, ...], np.dtype]] = []
    while 2 * (looked_at := len(problems) + len(misfits)) <= len(samples) and looked_at < len(samples):
        place = samples.place(looked_at)
        try:
            with reader.open(place.path) as read:
                first = read(place.name)
                # Only shape and type are read: arrays can be larger than memory.
                shape, dtype = sample_shape(first.shape, place), np.dtype(first.dtype)
            check_cells(shape, place)
            if not samples.slices:
                check_memory(math.prod(shape) * dtype.itemsize, place.address)
            if not skips_bad or samples.slices or fits(shape):
                return place, shape, dtype
            misfits.append((place, shape, dtype))
            if len(misfits) == _MOST_MISFITS:
                break
        except DataError as error:
            problems.append(error)
            if not skips_bad:
                break
    if misfits:
        return misfits[0]
    more = [Problem("", TOO_MANY)] if skips_bad else []
    raise DataError(*(p for error in problems[:MOST_NAMED] for p in error.problems), *more)
