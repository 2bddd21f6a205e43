"""A confusion matrix as a table: a row for each pair of classes that came, so that it is small for many classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rayrml.errors import DataError, Problem
from rayrml.metrics import name_classes

COLUMNS = ("true", "predicted", "count")


class Pair(NamedTuple):
    """How many samples (or pixels) of a class were predicted as a class."""

    true: str
    predicted: str
    num_samples: int


def to_csv(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """The table of (classes, classes) counts by true class (row) and predicted class."""
    names = name_classes(classes, len(counts))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((names[true], names[predicted], counts[true, predicted]) for true, predicted in np.argwhere(counts))
    return text.getvalue().encode(errors="surrogateescape")


def from_csv(content: bytes, where: str) -> list[Pair]:
    """The pairs of classes, read from the output of `to_csv`. Raises DataError if it is something else."""
    try:
        rows = csv.DictReader(io.StringIO(content.decode(errors="surrogateescape")), strict=True)
        return [Pair(row["true"], row["predicted"], int(row["count"])) for row in rows]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise DataError(
            Problem(where, f"is not a confusion matrix. Expected the columns {', '.join(COLUMNS)}")
        ) from None
