"""Whether an array is one sample or holds many of them, and the samples and labels in arrays that hold many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from rayrml.config.sections import Data
from rayrml.data import stacks
from rayrml.data.discovery import Samples
from rayrml.data.reader_keys import DATA
from rayrml.data.readers import READERS, Reader
from rayrml.data.value_rules import ClassNumbers
from rayrml.errors import MOST_NAMED, ConfigError, DataError, Problem
from rayrml.storage import split, suffix

_KEY = f"{DATA}.stacked"
_MOST_CLASSES = 100_000  # that labels may announce if the network does not say how many it tells apart


@dataclasses.dataclass(frozen=True)
class StackedSide:
    """The arrays of inputs or targets.

    Attributes:
        samples: the arrays.
        reader: how they are read.
    """

    samples: Samples
    reader: Reader


def list_samples(
    sides: Sequence[StackedSide], data: Data, wanted: Sequence[int | None] | None, *, labels: bool
) -> list[Samples]:
    """The samples of inputs and of targets, if there are any: the arrays themselves, or their rows.

    Args:
        sides: the arrays of the inputs and of their targets, in the same order.
        data: the data section.
        wanted: the shape (C, *spatial) that the network declares for its input, None if it does not.
        labels: whether targets are arrays of class numbers, each of which belongs to a sample.

    Raises:
        ConfigError: an array may be one sample or many, and no key says which.
        DataError: inputs and targets have different numbers of samples, or an array cannot be read.
    """
    inputs = sides[0]
    many = inputs.reader.stacked
    if many is False or data.slicers or (many is None and not labels and len(inputs.samples) != 1):
        return [side.samples for side in sides]
    shapes = [_read_shapes(side) for side in sides]
    place = inputs.samples.place(0).address
    if many is None and labels and len(inputs.samples) != 1:
        message = f"labels in arrays need inputs in one array, but there are {len(inputs.samples)} arrays"
        raise ConfigError(Problem(_KEY, f"{message}. Expected true if each of them holds many samples"))
    if many is None:
        resized = bool(data.transforms or data.input_transforms)
        last = [side.reader.channels_last for side in sides]
        many = labels or _holds_many(place, [found[0] for found in shapes], wanted, resized=resized, last=last[0])
    if not many:
        return [side.samples for side in sides]
    if len(sides) > 1:
        stacks.check_lengths(inputs.samples, sides[1].samples, *shapes)
    return [stacks.list_rows(side.samples, found) for side, found in zip(sides, shapes, strict=True)]


def list_counted(side: StackedSide, data: Data, wanted: Sequence[int | None] | None, count: int) -> Samples:
    """The samples in one array that a table has `count` rows for: its rows, or the array itself.

    Raises:
        ConfigError: it may be one sample or many, and neither the network, the table nor a key says which.
        DataError: the array cannot be read.
    """
    if side.reader.stacked is False or len(side.samples) != 1:
        return side.samples
    shapes = _read_shapes(side)
    undecided = wanted is None and side.reader.stacked is None and not data.slicers
    if undecided and count > 1 and shapes[0][:1] == (count,):
        return stacks.list_rows(side.samples, shapes)
    return list_samples([side], data, wanted, labels=False)[0]


def _read_shapes(side: StackedSide) -> list[tuple[int, ...]]:
    """The shape of each array; the first axis is that of the samples if there are many, wherever channels are."""
    shapes = stacks.read_shapes(side.samples, side.reader)
    if not side.reader.channels_last or side.reader.stacked:
        return shapes
    return [(*shape[1:2], *shape[:1], *shape[2:]) for shape in shapes]


def _holds_many(
    place: str,
    shapes: Sequence[tuple[int, ...]],
    wanted: Sequence[int | None] | None,
    *,
    resized: bool,
    last: bool = False,
) -> bool:
    """Whether the array at `place` holds many samples, given its shape and that of its targets if any.

    Raises:
        ConfigError: it cannot be told.
    """
    own = shapes[0]
    same_length = len(shapes) > 1 and own[:1] == shapes[1][:1]
    if not own or own[0] == 1:
        return wanted is not None and len(own) == len(wanted) + 1
    if wanted is None:
        one, many = True, same_length
    else:
        whole = (*own[1:2], *own[:1], *own[2:]) if last else own
        one, many = (_matches(shape, wanted, resized=resized) for shape in (whole, own[1:]))
        many = many and (same_length or len(shapes) == 1 or not one)
    if one and many:
        message = f"'{place}' of shape {list(own)} may be one sample, or {own[0]} samples of shape {list(own[1:])}"
        raise ConfigError(Problem(_KEY, f"{message}. Expected true if it holds many, or false"))
    return many or (wanted is not None and len(own) == len(wanted) + 1)


def _matches(shape: tuple[int, ...], wanted: Sequence[int | None], *, resized: bool) -> bool:
    """Whether a sample of this shape, perhaps without a channel axis, fits a network; transforms may change sizes."""
    if len(shape) + 1 == len(wanted):
        shape = (1, *shape)
    if len(shape) != len(wanted):
        return False
    compared = 1 if resized else len(wanted)
    return all(size in (None, own) for own, size in zip(shape[:compared], wanted[:compared], strict=True))


def find_label_reader(path: str, reader: Reader) -> Reader:
    """The reader of the arrays of labels at `path`: that of its extension, or the inputs' own."""
    rest = path.rstrip("/")
    while rest and split(rest)[1]:
        for row in ("numpy", "hdf5"):
            if suffix(rest) in READERS[row]().extensions:
                return dataclasses.replace(READERS[row](), stacked=True)
        rest = split(rest)[0]
    return reader


def label_by_array(
    samples: Samples, targets: StackedSide, classes: Sequence[str] | None, num_classes: int | None, *, skips: bool
) -> Samples:
    """Assign each sample its class number in an array.

    Args:
        samples: the rows of the inputs.
        targets: the arrays of labels, in the same order.
        classes: names of the classes if they are known; otherwise classes are named by their numbers.
        num_classes: how many classes the network tells apart, None if that is not known.
        skips: whether samples with an invalid label are left out.

    Raises:
        DataError: a label is not a class number.
    """
    numbers = stacks.read_labels(targets.samples, targets.reader)
    places = stacks.RowPlaces(
        [targets.samples.place(i) for i in range(len(targets.samples))],
        [shape[0] for shape in stacks.read_shapes(targets.samples, targets.reader)],
    )
    count = len(classes) if classes is not None else num_classes or _count_classes(numbers, places[0].path)
    rule = ClassNumbers(count, can_ignore=False)
    try:
        return _with_labels(samples, rule(numbers), classes, count)
    except ValueError:
        reasons = dict(_invalid(numbers, places, rule))
    if not skips or len(reasons) == len(numbers):
        rest = f"{len(reasons)} of {len(numbers)} labels stand for no class"
        raise DataError(*list(reasons.values())[:MOST_NAMED], Problem("", rest))
    good = [i for i in range(len(numbers)) if i not in reasons]
    left = samples.only(good, map(str, reasons.values()))
    return _with_labels(left, rule(numbers[good]), classes, count)


def _with_labels(samples: Samples, labels: np.ndarray, classes: Sequence[str] | None, count: int) -> Samples:
    names = tuple(classes) if classes is not None else tuple(map(str, range(count)))
    return dataclasses.replace(samples, labels=labels.astype(np.int64), classes=names)


def _count_classes(numbers: np.ndarray, place: str) -> int:
    """One more than the largest number; 1 if none can be a class."""
    finite = numbers[np.isfinite(numbers)]
    largest = float(finite.max()) if finite.size else 0.0
    if largest >= _MOST_CLASSES:
        message = f"holds {largest:g}. Expected class numbers from 0, one for each output of the network"
        raise DataError(Problem(place, message))
    return max(round(largest), 0) + 1


def _invalid(numbers: np.ndarray, places: Sequence, rule: ClassNumbers) -> Iterator[tuple[int, Problem]]:
    """The labels that stand for no class: their indices, and what is wrong with each."""
    for i in range(len(numbers)):
        try:
            rule(numbers[i : i + 1])
        except ValueError as error:
            yield i, Problem(places[i].address, str(error))
