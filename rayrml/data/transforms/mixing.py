"""Transforms of inputs and targets together: targets made from inputs, and samples mixed with each other."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt

from rayrml.data.image_ops import ANY_DIMENSION, Shape
from rayrml.data.transforms.sampling import mark_rectangles
from rayrml.data.transforms.transform import Transform, spread_per_sample
from rayrml.errors import ConfigError, Problem
from rayrml.tensors import constants, to_floats

Targets = Literal["none", "labels", "images", "masks"]


class PairTransform(Transform):
    """A transform of inputs and targets together.

    Attributes:
        targets: the supported kinds of targets.
        shares_labels: whether it needs class indices (N,) as shares of the classes (N, num_classes).
        makes_target: whether the resulting target is made from the input.
    """

    targets: ClassVar[tuple[Targets, ...]]
    shares_labels: ClassVar[bool] = False
    makes_target: ClassVar[bool] = False

    def pair(
        self, input: torch.Tensor, target: torch.Tensor | None, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The changed inputs (N, C, *spatial) and targets."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomPatches(PairTransform):
    """Removes random squares, `size` pixels wide, from inputs; targets are the removed pixels, and zero elsewhere.

    In evaluation, all samples lose the same squares, so that metrics are comparable.
    """

    number: PositiveInt
    size: PositiveInt
    targets: ClassVar[tuple[Targets, ...]] = ("none", "images")
    makes_target: ClassVar[bool] = True

    def draws_for(self, num_axes: int) -> int:
        """A row and a column for each square."""
        return 2 * self.number

    def pair(
        self, input: torch.Tensor, target: torch.Tensor | None, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (N, C, H, W), which add up to the original images."""
        free = constants(input.shape[2:], draws) - self.size + 1
        corner = (draws.view(-1, self.number, 2) * free).floor()
        squares = mark_rectangles(torch.cat([corner, corner + self.size], 2), input.shape[2:])
        images = to_floats(input)
        return images.masked_fill(squares, 0), images.masked_fill(~squares, 0)

    def shape(self, shape: Shape) -> Shape:
        """(C, H, W), unchanged."""
        if self.size > min(shape[1:]):
            raise ConfigError(
                Problem("", f"squares of {self.size} pixels are larger than images of {shape[1]} x {shape[2]}")
            )
        return shape

    def evaluation(self) -> Transform:
        """The same squares for all samples."""
        return FixedPatches(number=self.number, size=self.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedPatches(RandomPatches):
    """Inputs that all lose the same squares."""

    def draw(self, num_samples: int, generator: torch.Generator | None, num_axes: int = 2) -> torch.Tensor:
        """(N, 2 * number), with equal rows."""
        return super().draw(1, torch.Generator().manual_seed(0)).expand(num_samples, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixup(PairTransform):
    """Mixes each sample and its target with another sample's; the share is drawn from Beta(alpha, alpha).

    Source: arXiv 1710.09412, equation 2.
    """

    alpha: PositiveFloat
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    num_draws: ClassVar[int] = 2
    targets: ClassVar[tuple[Targets, ...]] = ("labels", "images")
    shares_labels: ClassVar[bool] = True

    def draw(self, num_samples: int, generator: torch.Generator | None, num_axes: int = 2) -> torch.Tensor:
        """(N, 2): the sample's own share, and a number whose rank selects the other sample."""
        return _share_and_rank(self.alpha, super().draw(num_samples, generator, num_axes))

    def pair(
        self, input: torch.Tensor, target: torch.Tensor | None, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mixed inputs (N, C, *spatial) and targets (N, num_classes) or (N, C, *spatial)."""
        other = draws[:, 1].argsort()
        return _mixed(input, other, draws[:, 0]), None if target is None else _mixed(target, other, draws[:, 0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(PairTransform):
    """Replaces a box in each sample with that of another sample; the share is drawn from Beta(alpha, alpha).

    Source: arXiv 1905.04899, section 3.1.
    """

    alpha: PositiveFloat
    num_draws: ClassVar[int] = 4
    targets: ClassVar[tuple[Targets, ...]] = ("labels", "images", "masks")
    shares_labels: ClassVar[bool] = True

    def draw(self, num_samples: int, generator: torch.Generator | None, num_axes: int = 2) -> torch.Tensor:
        """(N, 4): the sample's own share, the rank of the other one, and the center of the box."""
        return _share_and_rank(self.alpha, super().draw(num_samples, generator, num_axes))

    def pair(
        self, input: torch.Tensor, target: torch.Tensor | None, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs (N, C, H, W), and targets (N, num_classes), weighted by the remaining area, or (N, C, H, W)."""
        other = draws[:, 1].argsort()
        box = _boxes(draws, input.shape[2:])
        pasted = torch.where(box, input[other], input)
        if target is None:
            return pasted, None
        if target.ndim == 2:
            return pasted, _mixed(target, other, 1 - box.float().mean((1, 2, 3)))
        return pasted, torch.where(_boxes(draws, target.shape[2:]), target[other], target)


def _share_and_rank(alpha: float, draws: torch.Tensor) -> torch.Tensor:
    """`draws` with the first column replaced by draws from Beta(alpha, alpha)."""
    seed = int(draws[0, 0].double() * 2**53) if len(draws) else 0
    shares = np.random.default_rng(seed).beta(alpha, alpha, len(draws))
    draws[:, 0] = torch.from_numpy(shares)
    return draws


def _mixed(values: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    floats = to_floats(values)
    share = spread_per_sample(share, values.ndim)
    return share * floats + (1 - share) * floats[other]


def _boxes(draws: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The boxes (N, 1, H, W) of the other samples, cropped at the border."""
    half = (1 - draws[:, :1]).sqrt() / 2
    bounds = torch.cat([draws[:, 2:] - half, draws[:, 2:] + half], 1)
    return mark_rectangles((bounds * constants((*size, *size), bounds))[:, None], size)


TRANSFORMS = {"random_patches": RandomPatches, "mixup": Mixup, "cutmix": CutMix}
