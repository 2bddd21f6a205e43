"""Anchors: the sizes of boxes relative to which a network predicts those of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rayrml.errors import ConfigError, Problem

Size = tuple[float, float]  # width and height in input pixels
_WHERE = "neural_network.loss.anchors"
_MOST_ROUNDS = 300
_CHUNK = 2**13  # boxes at a time, so that they stay in the cache of a CPU


def cluster_sizes(sizes: torch.Tensor, num_anchors: int) -> tuple[Size, ...]:
    """The mean sizes of groups of similar boxes, by area: k-means with the IoU of boxes with one middle.

    Source: arXiv 1612.08242, section 2 (dimension clusters). The first means are spread evenly over the boxes in the
    order of their areas, so the same boxes always give the same anchors.

    Args:
        sizes: (n, 2) width and height of each box in input pixels.
        num_anchors: how many groups.

    Raises:
        ConfigError: there are fewer boxes than anchors.
    """
    sizes = _by_column(sizes)
    count = len(sizes)
    if count < num_anchors:
        message = f'"auto" needs as many training boxes as anchors, but there are {count} for {num_anchors} anchors'
        raise ConfigError(Problem(_WHERE, f"{message}. Expected a list of sizes [width, height]"))
    by_width = sizes[sizes[:, 0].argsort(stable=True)]
    ordered = by_width[by_width.prod(1).argsort(stable=True)]
    centres = ordered[[(2 * i + 1) * count // (2 * num_anchors) for i in range(num_anchors)]]
    groups = None
    for _ in range(_MOST_ROUNDS):
        before, groups = groups, _most_similar(sizes, centres)[1]
        if before is not None and torch.equal(before, groups):
            break
        counts = groups.bincount(minlength=num_anchors)
        sums = [groups.bincount(weights=column, minlength=num_anchors) for column in sizes.T]
        means = torch.stack(sums, 1) / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
    return sort_sizes(tuple((w, h) for w, h in centres.tolist()))


def mean_iou(sizes: torch.Tensor, anchors: Sequence[Size]) -> float:
    """The mean IoU of boxes of `sizes` (n, 2) with their best anchors, all with one middle; NaN without boxes."""
    best, _ = _most_similar(_by_column(sizes), torch.tensor(anchors, dtype=torch.float64))
    return best.mean().item()


def sort_sizes(sizes: Sequence[Size]) -> tuple[Size, ...]:
    """The sizes by area; equal areas in their order."""
    return tuple(sorted(sizes, key=lambda size: size[0] * size[1]))


def deal_out(anchors: Sequence[Size], strides: Sequence[float]) -> tuple[tuple[Size, ...], ...]:
    """The anchors of each output: the smallest ones for the output of the smallest stride, the same number for each.

    Raises:
        ConfigError: they cannot be dealt out evenly.
    """
    each, rest = divmod(len(anchors), len(strides))
    if rest or not each:
        counted = f"{len(anchors)} anchor{'' if len(anchors) == 1 else 's'}"
        message = f"{counted} cannot be dealt out evenly to {len(strides)} outputs"
        raise ConfigError(Problem(_WHERE, f"{message}. Expected the same number for each"))
    anchors = sort_sizes(anchors)
    rank = {output: i for i, output in enumerate(sorted(range(len(strides)), key=lambda o: strides[o]))}
    return tuple(anchors[rank[output] * each : (rank[output] + 1) * each] for output in range(len(strides)))


def _by_column(sizes: torch.Tensor) -> torch.Tensor:
    """The same numbers as float64, all widths adjacent in memory, and all heights."""
    return sizes.to(torch.float64).T.contiguous().T


def _most_similar(sizes: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) the IoU of each size with the most similar centre, and which one it is, the first of equals.

    It is computed by numpy: threads of torch would wait for each other for longer than they compute.
    """
    best, groups = np.full(len(sizes), -1.0), np.zeros(len(sizes), np.int64)
    widths, heights = sizes.numpy().T
    for first in range(0, len(sizes), _CHUNK):
        rows = slice(first, first + _CHUNK)
        width, height = widths[rows], heights[rows]
        area, ious, other = width * height, np.empty(len(width)), np.empty(len(width))
        for number, (own_width, own_height) in enumerate(centres.tolist()):
            np.multiply(np.minimum(width, own_width, out=ious), np.minimum(height, own_height, out=other), out=ious)
            np.subtract(np.add(area, own_width * own_height, out=other), ious, out=other)
            np.divide(ious, other, out=ious)
            better = ious > best[rows]
            np.copyto(best[rows], ious, where=better)
            np.copyto(groups[rows], number, where=better)
    return torch.from_numpy(best), torch.from_numpy(groups)
