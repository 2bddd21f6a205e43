"""The boxes of all images of a dataset, and those of label files before images are looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class BoxTable:
    """The true boxes of N images, in the order of the images.

    Attributes:
        corners: (M, 4) float64, xmin, ymin, xmax, ymax in pixels of the upright images; pixel i covers [i, i + 1).
        classes: (M,) int32, class indices.
        ignored: (M,) bool, whether a box is neither to be found nor a mistake if found.
        starts: (N + 1,) int64, the boxes of image i are the rows from `starts[i]` to `starts[i + 1]`.
        sizes: (N, 2) int32, height and width of the upright images.
    """

    corners: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        """The number of images."""
        return len(self.sizes)

    @property
    def counts(self) -> np.ndarray:
        """(N,) int64, how many boxes each image has."""
        return np.diff(self.starts)

    @property
    def images(self) -> np.ndarray:
        """(M,) int64, the image of each box."""
        return np.repeat(np.arange(len(self)), self.counts)

    def select(self, images: np.ndarray | Sequence[int]) -> BoxTable:
        """The boxes of these images (K,), in their order; an image may come repeatedly."""
        images = np.asarray(images, np.int64)
        counts = self.counts[images]
        starts = cumulate(counts)
        rows = np.arange(int(starts[-1])) + np.repeat(self.starts[images] - starts[:-1], counts)
        return BoxTable(self.corners[rows], self.classes[rows], self.ignored[rows], starts, self.sizes[images])


@dataclasses.dataclass(frozen=True)
class Rows:
    """Objects as label files have them, in the order of the images and then of the file.

    Attributes:
        images: (M,) int64, the image of each, ascending.
        corners: (M, 4) float64, xmin, ymin, xmax, ymax: shares of the size, or pixels counted from 0.
        codes: (M,) int64, the file's own class: a number, or an index of names.
        ignored: (M,) bool.
        objects: (M,) int64, the place of each in its file: a line, or a number.
    """

    images: np.ndarray
    corners: np.ndarray
    codes: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def keep(self, wanted: np.ndarray) -> Rows:
        """Only the rows that are `wanted`, (M,) bool or (K,) indices."""
        return Rows(*(getattr(self, field.name)[wanted] for field in dataclasses.fields(self)))


def no_rows() -> Rows:
    """No objects."""
    none = np.empty(0, np.int64)
    return Rows(none, np.empty((0, 4)), none, none.astype(bool), none)


def cumulate(counts: np.ndarray) -> np.ndarray:
    """(N + 1,) int64, where the rows of each image start if each has so many (N,)."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
