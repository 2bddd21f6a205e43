"""From the outputs of a detection network to detections: candidates, and the best of those that overlap.

Source: arXiv 1804.02767, section 2.1, for scores; greedy non-maximum suppression by class.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch

from rayrml.boxes.batch import cumulate
from rayrml.boxes.coding import decode, list_priors
from rayrml.boxes.grids import Grids, Outputs
from rayrml.boxes.overlap import areas, intersections

MOST_CANDIDATES = 10_000  # of an image
_MOST_SCORES = 2**23  # at a time: 70 MB for each array of them
_BLOCK = 64  # candidates of a group that are compared with one another at a time


@dataclasses.dataclass(frozen=True)
class Detections:
    """What was found in N images: those of each, the best first.

    Attributes:
        corners: (D, 4) float32 xmin, ymin, xmax, ymax in pixels of the network's input, not cut to it.
        scores: (D,) float32, from 0 to 1.
        classes: (D,) int64.
        starts: (N + 1,) int64, the detections of image i are the rows from `starts[i]` to `starts[i + 1]`; on the CPU.
    """

    corners: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    starts: torch.Tensor

    def __len__(self) -> int:
        """The number of images."""
        return len(self.starts) - 1


@torch.no_grad()
def detect(
    outputs: Outputs, grids: Grids, *, score_threshold: float, nms_iou: float, max_detections: int
) -> Detections:
    """The detections of each image of a batch.

    A candidate is a place and a class with a score of at least `score_threshold`; at most the best 10,000 of an image,
    of equals the first in the order position, anchor, class. Of candidates of a class that overlap by an IoU above
    `nms_iou`, the best one stays. Of these, the best `max_detections` of an image, of equals the lower class.

    Args:
        outputs: (N, channels, rows, columns) each, or one (N, channels, positions).
        grids: what the outputs stand for.
        score_threshold: the lowest score, from 0 to 1.
        nms_iou: the largest IoU of two detections of a class, from 0 to 1.
        max_detections: the most detections of an image.

    Raises:
        ConfigError: the outputs do not have the grids' shapes.
    """
    numbers = grids.split(outputs)  # (N, A, 5 + C, P)
    num_images = len(numbers)
    length = max(1, _MOST_SCORES // max(1, grids.num_places * grids.num_classes))
    parts = [_list_candidates(part, grids, score_threshold) for part in numbers.split(length)]
    found = _join([part.moved(i * length) for i, part in enumerate(parts)])
    # By image and class; of each the best first, of equals the first in the order position, anchor.
    found = found.take(found.scores.argsort(descending=True, stable=True))
    groups = found.images * grids.num_classes + found.classes
    order = groups.argsort(stable=True)
    found = found.take(order)
    found = found.take(suppress(found.corners, groups[order], nms_iou))
    # By image; of each the best first, of equals the lower class.
    found = found.take(found.scores.argsort(descending=True, stable=True))
    found = found.take(found.images.argsort(stable=True))
    found = found.take(_first_of_each(found.images, num_images, max_detections))
    starts = cumulate(found.images.bincount(minlength=num_images).cpu())
    return Detections(found.corners, found.scores, found.classes, starts)


def suppress(corners: torch.Tensor, groups: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(D,) int64, the rows that greedy non-maximum suppression keeps of each group, in their order.

    In each group in turn, a box is kept unless its IoU with one that was kept before is above `most_iou`. The result is
    that of this rule to the last bit, with IoUs in the type of the boxes. All groups advance together: of each the next
    64 boxes are compared with one another, and those that are kept with all later ones.

    Args:
        corners: (K, 4) boxes, those of a group the best first.
        groups: (K,) int64 the group of each box, in ascending order.
        most_iou: from 0 to 1.
    """
    kept = torch.zeros(len(corners), dtype=torch.bool, device=corners.device)
    left = torch.arange(len(corners), device=corners.device)  # rows that nothing has decided yet
    while len(left):
        ranks, blocks, num_blocks = _rank(groups[left])
        first = ranks < _BLOCK
        grid = left.new_full((num_blocks, _BLOCK), -1)
        grid[blocks[first], ranks[first]] = left[first]
        grid = torch.where(_keep_of_blocks(corners, grid, most_iou), grid, -1)
        kept[grid[grid >= 0]] = True
        left, blocks = left[~first], blocks[~first]
        left = left[~_is_covered(corners[left], blocks, _list_kept(corners, grid), most_iou)]
    return kept.nonzero().squeeze(1)


def _rank(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Of rows in the order of groups: the number of each in its group, the number of its group, how many occur."""
    _, numbers, counts = groups.unique_consecutive(return_inverse=True, return_counts=True)
    starts = counts.cumsum(0) - counts
    return torch.arange(len(groups), device=groups.device) - starts[numbers], numbers, len(counts)


def _keep_of_blocks(corners: torch.Tensor, grid: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(G, B) bool, which rows of the `grid` are kept of each block by itself; -1 is no row."""
    parts = grid.split(max(1, _count_overlaps(corners) // grid.shape[1] ** 2))
    return torch.cat([_keep_of_block(corners[rows], rows >= 0, most_iou) for rows in parts])


def _keep_of_block(corners: torch.Tensor, present: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(G, B) bool, which of the boxes (G, B, 4) are kept of each block by itself, of those that are present (G, B)."""
    # Whether an earlier box suppresses a later one, if it is kept itself.
    before = _overlapping(corners[:, :, None], corners[:, None], most_iou).triu_(1)  # (G, B, B)
    kept = present
    # After n rounds the first n boxes of each block are decided, and all of them as soon as nothing changes.
    while True:
        again = present & ~(before & kept[:, :, None]).any(1)
        if torch.equal(again, kept):
            return kept
        kept = again


def _list_kept(corners: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """(G, B', 4) the boxes of the rows of the `grid` (G, B), where -1 is no row; NaN after the last one of a block."""
    grid = grid.sort(1, descending=True).values
    grid = grid[:, : int((grid >= 0).sum(1).max())]
    return torch.where(grid[..., None] >= 0, corners[grid], torch.nan)


def _is_covered(corners: torch.Tensor, blocks: torch.Tensor, kept: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(R,) bool, which boxes (R, 4) overlap a kept one (G, B, 4) of their block (R,) too much."""
    length = max(1, _count_overlaps(corners) // max(1, kept.shape[1]))
    parts = zip(corners.split(length), blocks.split(length), strict=True)
    return torch.cat([_overlapping(some[:, None], kept[block], most_iou).any(1) for some, block in parts])


def _overlapping(a: torch.Tensor, b: torch.Tensor, most_iou: float) -> torch.Tensor:
    """(...) bool, whether the IoU of boxes (..., 4) is above `most_iou`; not so for NaN."""
    common = intersections(a, b)
    return common.div_(areas(a) + areas(b) - common) > most_iou


def _count_overlaps(corners: torch.Tensor) -> int:
    """How many overlaps are computed at a time: as many as fit in the cache of a CPU, or keep a GPU busy."""
    return 2**17 if corners.device.type == "cpu" else 2**24


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """K boxes in the order image, position, anchor, class."""

    corners: torch.Tensor  # (K, 4)
    scores: torch.Tensor  # (K,)
    classes: torch.Tensor  # (K,)
    images: torch.Tensor  # (K,)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter((self.corners, self.scores, self.classes, self.images))

    def take(self, rows: torch.Tensor) -> _Candidates:
        return _Candidates(*(column[rows] for column in self))

    def moved(self, images: int) -> _Candidates:
        return dataclasses.replace(self, images=self.images + images)


def _join(parts: list[_Candidates]) -> _Candidates:
    return _Candidates(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _list_candidates(numbers: torch.Tensor, grids: Grids, threshold: float) -> _Candidates:
    """The candidates of some images, given their outputs (N, A, 5 + C, P)."""
    # The last bits of a sigmoid or an exponential depend on the layout of its input in memory, and so on the number of
    # images. Computed in float64 and rounded, scores and boxes do not.
    objectness = numbers[:, :, 4].double().sigmoid().transpose(1, 2)  # (N, P, A)
    # No class has a higher score than its place: a trained network leaves few places whose classes count.
    images, positions, anchors = (objectness.float() >= threshold).nonzero(as_tuple=True)
    shares = (
        objectness[images, positions, anchors][:, None] * numbers[images, anchors, 5:, positions].double().sigmoid()
    )
    scores = shares.float()  # (places, C)
    wanted = scores >= threshold
    _keep_best(wanted, scores, cumulate(images.bincount(minlength=len(numbers))).tolist())
    rows, classes = wanted.nonzero(as_tuple=True)
    images, positions, anchors = images[rows], positions[rows], anchors[rows]
    numbers = numbers[images, anchors, :4, positions].double()
    corners = decode(numbers, list_priors(grids, numbers)[anchors, positions]).float()
    return _Candidates(corners, scores[rows, classes], classes, images)


def _keep_best(wanted: torch.Tensor, scores: torch.Tensor, starts: Sequence[int]) -> None:
    """Let only the 10,000 best of each image be wanted (places, C), of equals the first; its places are consecutive.

    Only the outputs of an untrained network have that many.
    """
    for first, end in itertools.pairwise(starts):
        if (end - first) * scores.shape[1] <= MOST_CANDIDATES:
            continue
        own, some = wanted[first:end].view(-1), scores[first:end].view(-1)
        if int(own.sum()) > MOST_CANDIDATES:
            some = torch.where(own, some, -1.0)
            last = some.topk(MOST_CANDIDATES, sorted=False).values.amin()
            better, equal = some > last, some == last
            own.copy_(better | (equal & (equal.cumsum(0) <= MOST_CANDIDATES - better.sum())))


def _first_of_each(images: torch.Tensor, num_images: int, most: int) -> torch.Tensor:
    """(K,) bool, the first rows of each image of rows in the order of images."""
    starts = cumulate(images.bincount(minlength=num_images))
    return torch.arange(len(images), device=images.device) - starts[images] < most
