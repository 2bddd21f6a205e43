"""What a metric is, and how all metrics interpret outputs and targets.

A metric is computed from sums over batches and workers, or from rows of all of them in any order, which makes it the
same for any split. Outputs are probabilities or anything that ranks the classes alike; a single channel is the
probability of class 1 of two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch

LIKELY = 0.5  # probability above which a sample is said to have a class


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure computed from sums.

    Attributes:
        name: as printed, in lower case.
        sums: (output (N, C, *spatial), target) -> a float64 vector to be summed.
        value: the summed vector -> the figure, None if it is undefined.
        compares: `classes`: of samples or pixels; `single`: the same, if each has one; `samples`: classes of whole
            samples only; `pixels`: classes of pixels (or other positions) only; `values`: numbers that stand for no
            classes; `boxes`: detections with the boxes of images, which only their own evaluation does; `generated`:
            generated samples with real ones, likewise.
        ranks: whether the figure depends on the scores of all samples at once: `sums` is a matrix of rows to be kept
            instead of a vector to be summed.
        merge: two vectors of `sums` -> that of both, for figures that plain addition would make inexact; None to add.
        fewest_classes: with fewer, the figure would say nothing.
    """

    name: str
    sums: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    value: Callable[[torch.Tensor], float | None]
    compares: Literal["classes", "single", "samples", "pixels", "values", "boxes", "generated"] = "classes"
    ranks: bool = False
    merge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    fewest_classes: int = 1

    @property
    def undefined_if(self) -> str:
        """The reason for which the figure is undefined, if it is."""
        reasons = {
            "values": "the targets do not vary",
            "boxes": "no image has a box that is to be found",
            "generated": "numbers are not finite, or there are too few samples",
        }
        return reasons.get(self.compares, "targets and predictions hold one class alone")


def predicted_classes(output: torch.Tensor) -> torch.Tensor:
    """The classes (N, *spatial) predicted by an output (N, C, *spatial)."""
    return output.argmax(1) if output.shape[1] > 1 else (output[:, 0] > LIKELY).long()


def true_classes(target: torch.Tensor) -> torch.Tensor:
    """The classes of a target: itself, or the predominant ones for shares of the classes (N, C, *spatial)."""
    return predicted_classes(target) if target.is_floating_point() else target


def counted(target: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """Which elements of a target count: all except those equal to `ignore_index`."""
    return torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index


def divide(sums: torch.Tensor) -> float | None:
    """The first sum divided by the second, a count; None if nothing counts: all labels may be ignored."""
    return float(sums[0] / sums[1]) if sums[1] > 0 else None


def add_to(tally: torch.Tensor, index: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """`tally` with one added at each index that counts."""
    # Not bincount, which makes the CPU wait for the GPU.
    return tally.index_add_(0, index.flatten(), counts.flatten().double())
