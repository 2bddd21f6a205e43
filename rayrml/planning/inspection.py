"""A look at some of the samples before a run begins: what their values are, as the network and the loss get them.

Without code nobody looks at a batch, so this does. What is wrong beyond doubt is an error with its file and its cure;
what is only likely to be wrong is a warning.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rayrml import storage
from rayrml.data.addresses import Place
from rayrml.data.reader_keys import DATA
from rayrml.data.sources import Side, Source
from rayrml.data.value_rules import ClassNumbers, UnitInterval
from rayrml.errors import DataError, Problem
from rayrml.planning import image_inspection

_MOST_SAMPLES = 100
_MOST_NAMED = 3  # of the same mistake
_MOST_BYTES = 2**26  # decoded, of all samples that are looked at
_MOST_BYTES_FETCHED = 2**21  # of arrays in a store, whose other values are not fetched
_LARGEST_BYTES = 2**29  # of one sample that is looked at
_WHITE = 255
_NEARLY_BLACK = 10  # of 255: class numbers that were mistaken for shades of gray
_MOST_CLASSES = 12  # whose shares are printed
_REQUESTS = 16  # concurrent ones to a store


@dataclasses.dataclass(frozen=True)
class Observation:
    """What some samples of a dataset have shown.

    Attributes:
        target_values: what their targets hold, None if there is nothing to say.
        warnings: sentences on what is probably wrong.
    """

    target_values: str | None = None
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Sampled:
    """Arrays of some samples as they were read, before a rule for their values.

    Attributes:
        places: where they are.
        arrays: (C, *spatial) of each.
        total: how many samples the dataset has.
    """

    places: Sequence[Place]
    arrays: Sequence[np.ndarray]
    total: int

    def count(self, num_valid: int | None = None) -> str:
        """`100 of 2,000 sampled`, and how many of them cannot be used if `num_valid` can."""
        bad = 0 if num_valid is None else len(self.places) - num_valid
        skipped = f", without {bad:,} that cannot be used" if bad else ""
        return f"{len(self.places):,} of {self.total:,} sampled{skipped}"


def observe(source: Source, *, skips_bad: bool) -> Observation:
    """Look at some samples of a dataset.

    Args:
        source: the dataset.
        skips_bad: invalid samples will be skipped, so they are not an error here.

    Raises:
        DataError: values that the loss or the network cannot take, each with its file.
    """
    _check_inputs(source, skips_bad=skips_bad)
    observed = _observe_targets(source, skips_bad=skips_bad)
    images = (*image_inspection.warn_of_images(source), *image_inspection.warn_of_folders(source))
    return dataclasses.replace(observed, warnings=(*observed.warnings, *images))


def _observe_targets(source: Source, *, skips_bad: bool) -> Observation:
    if source.target is None:
        return Observation()
    sampled = _sample(source.target)
    if not len(sampled.places):
        return Observation()  # files that cannot be read are reported by whoever needs them
    valid = _check_values(source.target, sampled, skips_bad=skips_bad)
    rule = source.target.decoding.rule
    if isinstance(rule, ClassNumbers):
        return _observe_classes(source.name, rule, sampled.count(len(valid)), valid)
    if source.target.pixels:
        return _observe_shades(source.name, isinstance(rule, UnitInterval), sampled)
    return Observation()


def _sample(side: Side) -> _Sampled:
    """Some samples that can be read, evenly spread, as they are before the rule for their values."""
    size = max(side.bytes_per_sample, 1)
    if size > _LARGEST_BYTES:
        return _Sampled([], [], len(side.samples))  # its values are checked when it is needed
    remote = storage.is_uri(side.samples.place(0).path)
    fetched = remote and side.decoding.reader.build().contents is not None
    most = max(min(_MOST_SAMPLES, (_MOST_BYTES_FETCHED if fetched else _MOST_BYTES) // size), 1)
    places = [side.samples.place(index) for index in side.samples.spread(most)]
    if remote:
        with ThreadPoolExecutor(_REQUESTS) as threads:
            each = threads.map(side.decoding.read_prepared, [[place] for place in places])
            arrays = list(itertools.chain.from_iterable(each))
    else:
        arrays = side.decoding.read_prepared(places)
    readable = [(place, array) for place, array in zip(places, arrays, strict=True) if array is not None]
    return _Sampled([place for place, _ in readable], [array for _, array in readable], len(side.samples))


def _check_inputs(source: Source, *, skips_bad: bool) -> None:
    if source.input.decoding.rule is not None:
        _check_values(source.input, _sample(source.input), skips_bad=skips_bad)


def _check_values(side: Side, sampled: _Sampled, *, skips_bad: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """The valid samples as they were read, and as they are under the rule. Raises DataError that names invalid ones."""
    problems: list[Problem] = []
    valid: list[tuple[np.ndarray, np.ndarray]] = []
    for place, array in zip(sampled.places, sampled.arrays, strict=True):
        try:
            valid.append((array, array if side.decoding.rule is None else side.decoding.rule(array)))
        except ValueError as error:
            problems.append(Problem(place.address, str(error)))
    if problems and not skips_bad:
        rest = f"{len(problems)} of {len(sampled.places)} samples that were looked at cannot be used"
        raise DataError(*problems[:_MOST_NAMED], Problem("", rest))
    return valid


def _observe_classes(
    name: str, rule: ClassNumbers, counted: str, valid: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Observation:
    """The share of each class among the labels of some samples, given as they were read and under the rule."""
    counts: Counter[int] = Counter()
    stored: set[float] = set()
    for array, checked in valid:
        labels, numbers = np.unique(rule.labels(checked), return_counts=True)
        counts.update(dict(zip(labels.tolist(), numbers.tolist(), strict=True)))
        if len(stored) <= _MOST_CLASSES:
            stored.update(np.unique(array).tolist())
    ignored = 0 if rule.ignore_index is None else counts.pop(rule.ignore_index, 0)
    if not counts:
        return Observation(None, (f"all labels of the {name} targets are ignored ({counted})",) * bool(ignored))
    only = next(iter(counts)) if len(counts) == 1 else None
    if only is not None and len(stored) > 1 + bool(ignored):
        values = ", ".join(f"{value:g}" for value in sorted(stored)[:_MOST_CLASSES])
        message = f"all {name} targets become class {only}, but their files hold {values} ({counted})"
        cure = "Expected target_transforms without 'normalize', so that class numbers are read as they are"
        raise DataError(Problem(DATA, f"{message}. {cure}"))
    warnings = []
    if only is not None:
        warnings.append(f"all {name} targets are of class {only} alone ({counted})")
    return Observation(f"{_shares(counts, ignored)} ({counted})", tuple(warnings))


def _shares(counts: Counter[int], ignored: int) -> str:
    total = sum(counts.values())
    shown = [f"{label}: {count / total:.1%}" for label, count in sorted(counts.items())[:_MOST_CLASSES]]
    shown += ["..."] if len(counts) > _MOST_CLASSES else []
    shown += [f"ignored: {ignored / (total + ignored):.1%}"] if ignored else []
    return ", ".join(shown)


def _observe_shades(name: str, probabilities: bool, sampled: _Sampled) -> Observation:
    """Whether images are so dark that their pixels must be class numbers."""
    shades = (array if array.dtype == np.uint8 else array * _WHITE for array in sampled.arrays)
    brightest = max(round(float(array.max()), 2) for array in shades)
    if not 0 < brightest <= _NEARLY_BLACK:
        return Observation()
    message = f"the {name} targets are nearly black: their pixels are 0 to {brightest:g} of 255 ({sampled.count()})"
    if probabilities:
        raise DataError(Problem(DATA, f'{message}. "target_is_mask": true reads them as class numbers'))
    return Observation(None, (message,))
