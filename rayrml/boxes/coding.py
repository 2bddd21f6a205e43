"""Between boxes and the numbers by which a network predicts them at each place of its grids.

Source: arXiv 1804.02767, section 2.1; darknet's `yolo_layer.c` (`get_yolo_box`, `delta_yolo_box`).
"""

from __future__ import annotations

import dataclasses
import functools
import math

import torch

from rayrml.boxes.grids import Grids
from rayrml.boxes.overlap import ious_of_sizes, sizes

# A box is at most this number of times as large as its anchor, so that no output overflows.
_LARGEST = 1000 / 16
_SMALLEST = 1e-6  # pixels of a side: smaller ones have the logarithm of this, so that no error is infinite


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The place that has to predict each of M boxes, and what it should say.

    Attributes:
        outputs: (M,) int64, which grid.
        anchors: (M,) int64, which of its anchors.
        columns: (M,) int64, the cell's column in the grid.
        rows: (M,) int64, the cell's row in the grid.
        positions: (M,) int64, the cell in the row of all grids.
        numbers: (M, 4) x, y as shares of the cell, not as logits; and w, h.
    """

    outputs: torch.Tensor
    anchors: torch.Tensor
    columns: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    numbers: torch.Tensor


def assign(corners: torch.Tensor, grids: Grids) -> Assignment:
    """The place of each box (M, 4): the anchor that is most similar in size, and the cell of the box's middle.

    Of anchors that are equally similar the one with the smallest area; of these the one of the smallest stride. On a
    line between cells, the middle belongs to the cell right of it or below it; on the image's edge, to the last cell.
    """
    table = _kept_anchors if _is_real(corners) else _list_anchors
    anchors = table(grids, corners.dtype, corners.device)
    size = sizes(corners).clamp(min=_SMALLEST)
    best = ious_of_sizes(size[:, None], anchors.sizes).argmax(1)  # the first of equals
    outputs = anchors.outputs[best]
    strides, cells = anchors.strides[outputs], anchors.cells[outputs]
    middles = (corners[:, :2] + corners[:, 2:]) / 2 / strides[:, None]
    inside = torch.minimum(middles.floor().long(), cells - 1).clamp(min=0)  # (M, 2) column and row
    columns, rows = inside.unbind(1)
    numbers = torch.cat([middles - inside, (size / anchors.sizes[best]).log()], 1)
    positions = anchors.starts[outputs] + rows * cells[:, 0] + columns
    return Assignment(outputs, anchors.anchors[best], columns, rows, positions, numbers)


def decode(numbers: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """(..., 4) corners in input pixels of the boxes that x, y, w, h (..., 4) stand for at places (..., 5)."""
    middles = (numbers[..., :2].sigmoid() + priors[..., :2]) * priors[..., 2:3]
    halves = numbers[..., 2:].clamp(max=math.log(_LARGEST)).exp() * priors[..., 3:] / 2
    return torch.cat([middles - halves, middles + halves], -1)


def list_priors(grids: Grids, like: torch.Tensor) -> torch.Tensor:
    """(anchors, positions, 5) column, row and stride of each place's cell, width and height of its anchor.

    Of the type and on the device of `like`; computed only once for each.
    """
    compute = _kept_priors if _is_real(like) else _list_priors
    return compute(grids, like.dtype, like.device)


def _is_real(tensor: torch.Tensor) -> bool:
    """Whether what is made along with the tensor may be kept: not while operations are only recorded."""
    return type(tensor) is torch.Tensor


def _list_priors(grids: Grids, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    parts = []
    for (rows, columns), stride, anchors in zip(grids.cells, grids.strides, grids.anchors, strict=True):
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([column, row, torch.full_like(row, 0)], -1).view(1, -1, 3).to(torch.float64)
        cells[..., 2] = stride
        of_anchors = torch.tensor(anchors, dtype=torch.float64)[:, None]
        shape = (len(anchors), rows * columns)
        parts.append(torch.cat([cells.expand(*shape, 3), of_anchors.expand(*shape, 2)], -1))
    return torch.cat(parts, 1).to(device, dtype)


@dataclasses.dataclass(frozen=True)
class _Anchors:
    """All anchors by (area, stride): their sizes (K, 2), outputs and numbers there; stride, cells, start of outputs."""

    sizes: torch.Tensor
    outputs: torch.Tensor
    anchors: torch.Tensor
    strides: torch.Tensor
    cells: torch.Tensor  # columns and rows
    starts: torch.Tensor


def _list_anchors(grids: Grids, dtype: torch.dtype, device: torch.device) -> _Anchors:
    rows = [
        (width * height, grids.strides[output], output, anchor, (width, height))
        for output, sizes_of_one in enumerate(grids.anchors)
        for anchor, (width, height) in enumerate(sizes_of_one)
    ]
    rows.sort()
    counts = [rows * columns for rows, columns in grids.cells]
    integers = functools.partial(torch.tensor, dtype=torch.int64, device=device)
    floats = functools.partial(torch.tensor, dtype=dtype, device=device)
    return _Anchors(
        floats([size for *_, size in rows]),
        integers([output for _, _, output, _, _ in rows]),
        integers([anchor for *_, anchor, _ in rows]),
        floats(grids.strides),
        integers([(columns, rows) for rows, columns in grids.cells]),
        integers([sum(counts[:output]) for output in range(len(counts))]),
    )


# Computed once for each network, type and device. An inference tensor could not be used elsewhere.
_kept_priors = functools.lru_cache(maxsize=16)(torch.inference_mode(False)(_list_priors))
_kept_anchors = functools.lru_cache(maxsize=16)(torch.inference_mode(False)(_list_anchors))
