"""The boxes of several images, as one list of rows and where each image's rows start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The true boxes of a batch of images.

    Attributes:
        corners: (M, 4) xmin, ymin, xmax, ymax in pixels; pixel i covers [i, i + 1).
        classes: (M,) int64, the class index of each box.
        ignored: (M,) bool, whether a box is neither to be found nor a mistake if found.
        starts: (N + 1,) int64, the boxes of image i are the rows from `starts[i]` to `starts[i + 1]`; on the CPU.
        shares: (M,) float64, which share of each box's area crops have left so far; None if nothing was cropped.
    """

    corners: torch.Tensor
    classes: torch.Tensor
    ignored: torch.Tensor
    starts: torch.Tensor
    shares: torch.Tensor | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.starts) - 1

    def __getitem__(self, images: slice) -> Boxes:
        """Consecutive images."""
        start, stop, step = images.indices(len(self))
        if step != 1:
            raise ValueError(f"expected consecutive images, got steps of {step}")
        starts = self.starts[start : max(stop, start) + 1]
        return self._rows(slice(int(starts[0]), int(starts[-1])), starts - starts[0])

    @property
    def counts(self) -> torch.Tensor:
        """(N,) int64, how many boxes each image has; on the CPU."""
        return self.starts.diff()

    @property
    def images(self) -> torch.Tensor:
        """(M,) int64, the image of each box; on the device of the boxes."""
        return torch.arange(len(self)).repeat_interleave(self.counts).to(self.corners.device)

    def select(self, images: torch.Tensor) -> Boxes:
        """The boxes of these images (K,), in their order; an image may come repeatedly."""
        images = images.cpu()
        counts = self.counts[images]
        starts = cumulate(counts)
        rows = torch.arange(int(starts[-1])) + (self.starts[images] - starts[:-1]).repeat_interleave(counts)
        return self._rows(rows.to(self.corners.device), starts)

    def keep(self, wanted: torch.Tensor) -> Boxes:
        """Without the boxes that are not `wanted` (M,) bool."""
        counts = torch.zeros(len(self), dtype=torch.int64).index_add_(0, self.images.cpu(), wanted.cpu().long())
        return self._rows(wanted, cumulate(counts))

    def with_corners(self, corners: torch.Tensor) -> Boxes:
        """The same objects at other places (M, 4)."""
        return dataclasses.replace(self, corners=corners)

    def to(self, device: torch.device | str) -> Boxes:
        """The same boxes on a device."""
        shares = None if self.shares is None else self.shares.to(device)
        return Boxes(self.corners.to(device), self.classes.to(device), self.ignored.to(device), self.starts, shares)

    def _rows(self, rows: slice | torch.Tensor, starts: torch.Tensor) -> Boxes:
        shares = None if self.shares is None else self.shares[rows]
        return Boxes(self.corners[rows], self.classes[rows], self.ignored[rows], starts, shares)


@dataclasses.dataclass(frozen=True)
class OriginalBoxes:
    """The true boxes of a batch of images as they were before any transform.

    Attributes:
        boxes: in pixels of the upright images.
        sizes: (N, 2) int64, height and width of each; on the CPU.
    """

    boxes: Boxes
    sizes: torch.Tensor

    def __len__(self) -> int:
        """The number of images."""
        return len(self.boxes)


def join_images(parts: Sequence[Boxes]) -> Boxes:
    """The images of all parts, one part after the other."""
    cropped = any(part.shares is not None for part in parts)
    return Boxes(
        torch.cat([part.corners for part in parts]),
        torch.cat([part.classes for part in parts]),
        torch.cat([part.ignored for part in parts]),
        cumulate(torch.cat([part.counts for part in parts])),
        torch.cat([_shares(part) for part in parts]) if cropped else None,
    )


def no_boxes(num_images: int, device: torch.device | str = "cpu") -> Boxes:
    """Images in which nothing is to be found."""
    rows = torch.empty(0, 4, dtype=torch.float64, device=device)
    return Boxes(rows, rows[:, 0].long(), rows[:, 0].bool(), torch.zeros(num_images + 1, dtype=torch.int64))


def _shares(boxes: Boxes) -> torch.Tensor:
    return boxes.corners.new_ones(len(boxes.corners)) if boxes.shares is None else boxes.shares


def cumulate(counts: torch.Tensor) -> torch.Tensor:
    """(N + 1,) where the rows of each image start if each has so many (N,)."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
