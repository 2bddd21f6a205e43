"""Rules for the values of a sample: which ones are valid, and which classes they stand for.

A rule sees each array as it is decoded, so an invalid value is reported with its file. Shapes are checked elsewhere.
Decoding tasks must start fast: this module imports neither torch nor torchvision.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

_WHITE = 255
_LARGEST = float(np.finfo(np.float32).max)
_TOLERANCE = 1e-3  # of class numbers that were stored as floats
_ROUNDED, _GRAY = '{"normalize": {"std": 1}} in target_transforms', 'with "target_grayscale": true'


class ValueRule(Protocol):
    """What the values of an array must be."""

    def __call__(self, array: np.ndarray, /) -> np.ndarray:
        """The array, perhaps with other values. Raises ValueError with a message if a value is invalid."""
        ...

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The type of the arrays that come out."""
        ...


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What happens to stored values before the loss sees them.

    Attributes:
        pixels: whether 255 stands for 1.
        steps: (mean, std) of each normalization, in order.
    """

    pixels: bool = False
    steps: tuple[tuple[float, float], ...] = ()

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """The values that the loss gets, as float64."""
        scaled = np.asarray(values, np.float64) / (_WHITE if self.pixels else 1)
        for mean, std in self.steps:
            scaled = (scaled - mean) / std
        return scaled

    @property
    def changes_values(self) -> bool:
        """Whether values differ from those in the files."""
        return self.pixels or bool(self.steps)


@dataclasses.dataclass(frozen=True)
class Finite:
    """Any numbers but NaN and infinity, also as 32-bit floats."""

    def __call__(self, array: np.ndarray, /) -> np.ndarray:
        """The array itself. Raises ValueError if a value is not finite, or would not be as a 32-bit float."""
        _check_finite(array)
        if array.dtype.kind == "f" and array.dtype.itemsize > 4 and array.size:
            for extreme in (array.min(), array.max()):
                if abs(extreme) > _LARGEST:
                    raise ValueError(f"holds {_short(extreme)}. Expected numbers up to {_LARGEST:.3g} in size")
        return array

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The same."""
        return dtype


@dataclasses.dataclass(frozen=True)
class UnitInterval:
    """Numbers in [0, 1] once they are scaled, as a loss of probabilities compares them.

    Attributes:
        loss: the loss's name, for messages.
        scaling: what happens to stored values first.
    """

    loss: str
    scaling: Scaling = Scaling()

    def __call__(self, array: np.ndarray, /) -> np.ndarray:
        """The array itself. Raises ValueError if a value is outside of [0, 1]."""
        _check_finite(array)
        for extreme in (array.min(), array.max()):
            if not -_TOLERANCE <= float(self.scaling(extreme)) <= 1 + _TOLERANCE:
                held = _holding(extreme, self.scaling(extreme))
                raise ValueError(f"{held}. {self.loss} compares outputs with targets in [0, 1]{self._cure(array)}")
        return array

    def _cure(self, array: np.ndarray) -> str:
        if self.scaling.changes_values or array.min() < 0:
            return ""
        if array.ndim == 1:  # transforms are for samples with spatial axes
            return ". Divide the targets by the largest of them before they are written to their file"
        return f'. {{"normalize": {{"std": {_short(array.max())}}}}} in target_transforms scales them'

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The same."""
        return dtype


@dataclasses.dataclass(frozen=True)
class ClassNumbers:
    """Whole numbers from 0 to the number of classes less one, and the label that is ignored.

    Values that are scaled first are rounded by the loss, and stay here as they are; others come out in a small type.

    Attributes:
        num_classes: how many classes the network tells apart.
        ignore_index: the label that stands for no class, None for none.
        scaling: what happens to stored values first.
        black_and_white: whether images of 0 and 255 alone stand for classes 0 and 1.
        can_ignore: whether the loss takes an `ignore_index`.
    """

    num_classes: int
    ignore_index: int | None = None
    scaling: Scaling = Scaling()
    black_and_white: bool = False
    can_ignore: bool = True

    def __call__(self, array: np.ndarray, /) -> np.ndarray:
        """Class numbers in the array's shape. Raises ValueError if a value stands for no class."""
        _check_finite(array)
        if self.scaling.changes_values:
            self._check(self.labels(array), array)
            return array
        numbers = self._from_white(array)
        if np.issubdtype(numbers.dtype, np.floating):
            numbers = self._whole(numbers)
        self._check(numbers, array)
        return numbers.astype(self.dtype(array.dtype))

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The smallest type that holds all labels; of scaled values, the same."""
        if self.scaling.changes_values:
            return dtype
        labels = (0, self.num_classes - 1, self.ignore_index or 0)
        for kind in (np.uint8, np.int16):
            if np.iinfo(kind).min <= min(labels) and max(labels) <= np.iinfo(kind).max:
                return np.dtype(kind)
        return np.dtype(np.float32)

    def labels(self, array: np.ndarray) -> np.ndarray:
        """The labels that the loss gets for values that were read, without a look at whether they are valid."""
        return np.clip(np.rint(self.scaling(array)), -(2.0**62), 2.0**62).astype(np.int64)

    @property
    def white_is_one(self) -> bool:
        """Whether 255 is class 1 in an image of 0 and 255 alone: there are two classes, and it is nothing else."""
        return self.black_and_white and self.num_classes == 2 and self.ignore_index != _WHITE

    def _from_white(self, array: np.ndarray) -> np.ndarray:
        """255 as 1 in an image of two shades."""
        if not self.white_is_one or array.max() != _WHITE:
            return array
        return array // _WHITE if np.isin(array, (0, _WHITE)).all() else array

    def _whole(self, array: np.ndarray) -> np.ndarray:
        whole = np.rint(array)
        broken = np.abs(array - whole) > _TOLERANCE
        if broken.any():
            raise ValueError(f"holds {_short(array[broken].flat[0])}. {self._expected()}")
        return whole

    def _check(self, numbers: np.ndarray, array: np.ndarray) -> None:
        last = self.num_classes - 1
        if numbers.min() >= 0 and numbers.max() <= last:
            return
        wrong = (numbers < 0) | (numbers > last)
        if self.ignore_index is not None:
            wrong &= numbers != self.ignore_index
        if wrong.any():
            number, stored = numbers[wrong].flat[0], array[wrong].flat[0]
            held = _holding(stored, number)
            raise ValueError(f"{held}. {self._expected()}{self._cure(int(number), array)}")

    def _expected(self) -> str:
        return f"Expected class numbers from 0 to {self.num_classes - 1}"

    def _cure(self, number: int, array: np.ndarray) -> str:
        shades = np.unique(array)
        if self.black_and_white and self.num_classes == 2 and len(shades) > 3:
            return f", or 0 and 255 alone. {_ROUNDED} rounds shades of gray to black or white, {_GRAY}"
        if self.can_ignore and self.ignore_index is None:
            two = self.num_classes == 2 and shades.tolist() == [0, number]
            one = f". If {number} is class 1, {self._scaled(number)}" if two else ""
            return f'{one}. If {number} stands for no class, set "ignore_index": {number} in the loss'
        if self.can_ignore:
            return f", or {self.ignore_index} to be ignored"
        return ""

    def _scaled(self, number: int) -> str:
        """What makes class 1 of a number that is the only one but 0."""
        if self.black_and_white:
            return f"{_ROUNDED} makes it so, {_GRAY}"
        return f'{{"normalize": {{"std": {number}}}}} in target_transforms makes it so'


def _check_finite(array: np.ndarray) -> None:
    if not np.issubdtype(array.dtype, np.floating):
        return
    # The sum is one pass without a temporary array; only one that is not finite needs a closer look.
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    count = array.size - int(np.isfinite(array).sum())
    if count:
        kind = "NaN" if np.isnan(array).any() else "infinite"
        raise ValueError(f"holds {count} of {array.size} values that are not finite numbers ({kind})")


def _holding(stored: np.generic | float, value: np.generic | np.ndarray | float) -> str:
    """`holds 255`, and what the transforms make of it."""
    if float(stored) == float(value):
        return f"holds {_short(stored)}"
    return f"holds {_short(stored)}, which becomes {_short(value)}"


def _short(value: np.generic | np.ndarray | float) -> str:
    return f"{float(value):.6g}"
