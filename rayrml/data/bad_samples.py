"""Samples that cannot be used: which they are, what is wrong with them, and when there are too many."""

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
        name: what the dataset is called.
        num_samples: all samples of the dataset, these included.
        numbers: their numbers in the dataset; below zero those of files that turned out to be none before.
        reasons: what is wrong with the first of them, by number.
        partial: whether nobody looked for more of them.
    """

    name: str
    num_samples: int
    numbers: frozenset[int]
    reasons: Mapping[int, str]
    partial: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def without(self, numbers: Iterable[int]) -> BadSamples:
        """The same without those of the numbers given."""
        left = self.numbers.difference(numbers)
        return dataclasses.replace(self, numbers=left, reasons={i: r for i, r in self.reasons.items() if i in left})

    def lines(self) -> list[str]:
        """A line for each of the first ones, and one that counts them."""
        named = [self.reasons[number] for number in sorted(self.reasons)[:MOST_NAMED]]
        more = [f"... and {len(self) - len(named)} more"] if len(self) > len(named) else []
        least = "at least " if self.partial else ""
        return [*named, *more, f"{least}{len(self)} of {self.num_samples} {self.name} samples cannot be used"]

    def error(self) -> DataError:
        """The error that names them."""
        return DataError(*(Problem("", line) for line in self.lines()))

    def refuse_too_many(self) -> None:
        """Raise DataError if they are more than half of the samples."""
        if 2 * len(self) > self.num_samples:
            raise DataError(*self.error().problems, Problem("", TOO_MANY))


def gather_bad_samples(name: str, samples: Samples, reasons: Mapping[int, str], *, partial: bool = False) -> BadSamples:
    """The bad ones of `samples`, with what is wrong with each, and the files that turned out to be none before."""
    before = {number - len(samples.unreadable): reason for number, reason in enumerate(samples.unreadable)}
    return _first(name, len(samples) + len(before), before | dict(reasons), partial=partial)


def merge_bad_samples(parts: Sequence[BadSamples]) -> BadSamples:
    """What several processes found in their parts of a dataset."""
    reasons = {number: reason for part in parts for number, reason in part.reasons.items()}
    first = _first(parts[0].name, parts[0].num_samples, reasons)
    return dataclasses.replace(first, numbers=frozenset().union(*(part.numbers for part in parts)))


def _first(name: str, num_samples: int, reasons: Mapping[int, str], *, partial: bool = False) -> BadSamples:
    named = sorted(reasons)[:MOST_NAMED]
    return BadSamples(name, num_samples, frozenset(reasons), {number: reasons[number] for number in named}, partial)


def list_reasons(numbers: np.ndarray, errors: np.ndarray) -> dict[int, str]:
    """What is wrong with the samples of the `numbers` (n,), for those whose `errors` (n,) are not empty."""
    return {int(number): str(error) for number, error in zip(numbers, errors, strict=True) if error}
