"""Samples that cannot be used: which ones, what is wrong with them, and when there are too many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rayrml.data.discovery import Samples
from rayrml.errors import MOST_NAMED, DataError, Problem

TOO_MANY = 'more than half of the samples cannot be used, which is too many even for "on_bad_sample": "skip"'


@dataclasses.dataclass(frozen=True)
class BadSamples:
    """Samples of one dataset that cannot be used.

    Attributes:
        name: name of the dataset.
        num_samples: number of samples in the dataset, including these.
        numbers: their numbers in the dataset; negative for files that were found to be unusable earlier.
        reasons: what is wrong with the first few, by number.
        partial: whether there may be more, because the search stopped early.
    """

    name: str
    num_samples: int
    numbers: frozenset[int]
    reasons: Mapping[int, str]
    partial: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def without(self, numbers: Iterable[int]) -> BadSamples:
        """Return a copy without the samples of these numbers."""
        left = self.numbers.difference(numbers)
        return dataclasses.replace(self, numbers=left, reasons={i: r for i, r in self.reasons.items() if i in left})

    def lines(self) -> list[str]:
        """One line for each of the first few, and one with the count."""
        named = [self.reasons[number] for number in sorted(self.reasons)[:MOST_NAMED]]
        more = [f"... and {len(self) - len(named)} more"] if len(self) > len(named) else []
        least = "at least " if self.partial else ""
        return [*named, *more, f"{least}{len(self)} of {self.num_samples} {self.name} samples cannot be used"]

    def error(self) -> DataError:
        """The error that lists them."""
        return DataError(*(Problem("", line) for line in self.lines()))

    def refuse_too_many(self) -> None:
        """Raise DataError if more than half of the samples are bad."""
        if 2 * len(self) > self.num_samples:
            raise DataError(*self.error().problems, Problem("", TOO_MANY))


def gather_bad_samples(name: str, samples: Samples, reasons: Mapping[int, str], *, partial: bool = False) -> BadSamples:
    """The bad ones of `samples` with their reasons, and the files that were found to be unusable earlier."""
    before = {number - len(samples.unreadable): reason for number, reason in enumerate(samples.unreadable)}
    return _first(name, len(samples) + len(before), before | dict(reasons), partial=partial)


def merge_bad_samples(parts: Sequence[BadSamples]) -> BadSamples:
    """Combine what several processes found in their parts of a dataset."""
    reasons = {number: reason for part in parts for number, reason in part.reasons.items()}
    first = _first(parts[0].name, parts[0].num_samples, reasons)
    return dataclasses.replace(first, numbers=frozenset().union(*(part.numbers for part in parts)))


def _first(name: str, num_samples: int, reasons: Mapping[int, str], *, partial: bool = False) -> BadSamples:
    named = sorted(reasons)[:MOST_NAMED]
    return BadSamples(name, num_samples, frozenset(reasons), {number: reasons[number] for number in named}, partial)


def list_reasons(numbers: np.ndarray, errors: np.ndarray) -> dict[int, str]:
    """What is wrong with the samples of these `numbers` (n,), where their `errors` (n,) are not empty."""
    return {int(number): str(error) for number, error in zip(numbers, errors, strict=True) if error}
