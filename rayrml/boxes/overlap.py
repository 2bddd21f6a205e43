"""How much boxes overlap, for boxes (..., 4) xmin, ymin, xmax, ymax whose leading axes are broadcast."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

_EPS = 1e-7  # of torchvision's losses, in squared pixels
_THINNEST = 1e-9  # pixels; the proportions of thinner boxes have no gradient


def sizes(corners: torch.Tensor) -> torch.Tensor:
    """(..., 2) width and height."""
    return corners[..., 2:] - corners[..., :2]


def areas(corners: torch.Tensor) -> torch.Tensor:
    """(...) width times height."""
    left, top, right, bottom = corners.unbind(-1)
    return (right - left) * (bottom - top)


def intersections(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(...) the area that each box of `a` has in common with the box of `b` at its place."""
    # Coordinate by coordinate: reductions over an axis of two are slow.
    (left, top, right, bottom), others = a.unbind(-1), b.unbind(-1)
    width = functional.relu(torch.minimum(right, others[2]) - torch.maximum(left, others[0]))
    height = functional.relu(torch.minimum(bottom, others[3]) - torch.maximum(top, others[1]))
    return width * height


def ious(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(...) intersection over union of each box of `a` with the box of `b` at its place; 0 if neither has an area."""
    common = intersections(a, b)
    union = areas(a) + areas(b) - common
    return torch.where(union > 0, common / union, 0.0)


def iou_matrix(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(..., M, K) the IoU of each of the boxes `a` (..., M, 4) with each of the boxes `b` (..., K, 4)."""
    return ious(a[..., :, None, :], b[..., None, :, :])


def ious_of_sizes(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(...) the IoU of boxes with the same middle, given their widths and heights (..., 2)."""
    common = torch.minimum(a[..., 0], b[..., 0]) * torch.minimum(a[..., 1], b[..., 1])
    return common / (a[..., 0] * a[..., 1] + b[..., 0] * b[..., 1] - common)


def generalized_ious(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(...) IoU minus the share of the box around both that neither covers.

    Source: arXiv 1902.09630, Algorithm 1, with the small constant of torchvision's `generalized_box_iou_loss`.
    """
    common = intersections(a, b)
    union = areas(a) + areas(b) - common
    width, height = _around(a, b).unbind(-1)
    around = width * height
    return common / (union + _EPS) - (around - union) / (around + _EPS)


def complete_ious(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(...) IoU minus penalties for the distance between the middles and for different proportions.

    The weight alpha of the proportions has no gradient. Source: arXiv 1911.08287, equations 8 to 11, with the small
    constant of torchvision's `complete_box_iou_loss`.
    """
    common = intersections(a, b)
    iou = common / (areas(a) + areas(b) - common + _EPS)
    middles = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = middles.square().sum(-1) / (_around(a, b).square().sum(-1) + _EPS)
    proportion = (4 / math.pi**2) * (_angles(b) - _angles(a)).square()
    alpha = (proportion / (1 - iou + proportion + _EPS)).detach()
    return iou - distance - alpha * proportion


def _around(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(..., 2) width and height of the smallest box around both."""
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])


def _angles(corners: torch.Tensor) -> torch.Tensor:
    """(...) arctan(width / height), with finite gradients for boxes of no size, too."""
    width, height = sizes(corners).clamp(min=_THINNEST).unbind(-1)
    return torch.atan2(width, height)
