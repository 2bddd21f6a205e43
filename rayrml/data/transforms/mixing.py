"""Transforms of inputs and targets together: targets made from inputs, and samples mixed with each other."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt

from rayrml.data.draws import Draws
from rayrml.data.image_ops import ANY_DIMENSION, Shape
from rayrml.data.transforms.sampling import mark_rectangles
from rayrml.data.transforms.transform import Transform, spread_per_sample
from rayrml.errors import ConfigError, Problem
from rayrml.tensors import constants, to_floats

Pair = tuple[torch.Tensor, torch.Tensor | None]  # inputs and targets
Targets = Literal["none", "labels", "values", "images", "masks", "boxes"]
_PLACES = 8193  # at which the mass of a distribution is computed


class PairTransform(Transform):
    """A transform of inputs and targets together.

    Attributes:
        targets: the supported kinds of targets.
        makes_target: whether the resulting target is made from the input.
        needs_target: whether inputs without targets are not supported.
    """

    targets: ClassVar[tuple[Targets, ...]]
    makes_target: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False

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

    def draw(self, num_samples: int, source: Draws | None, num_axes: int = 2) -> torch.Tensor:
        """(N, 2 * number), with equal rows."""
        row = torch.rand((1, self.draws_for(num_axes)), generator=torch.Generator().manual_seed(0))
        return row.expand(num_samples, -1)


class Mixing(PairTransform):
    """The base of what mixes each sample with another one of the batch, its partner.

    Class indices (N,) become shares of the classes (N, num_classes). Of a sample's draws, the first is its own share of
    the mixture, and the second a number that determines its partner; see `find_partners`.
    """

    alpha: float
    num_draws: ClassVar[int] = 2

    def draw(self, num_samples: int, source: Draws | None, num_axes: int = 2) -> torch.Tensor:
        """(N, number): the sample's own share, drawn from Beta(alpha, alpha), then numbers in [0, 1)."""
        draws = super().draw(num_samples, source, num_axes)
        draws[:, 0] = torch.from_numpy(beta_quantiles(draws[:, 0].numpy(), self.alpha))
        return draws

    def mix(self, own: Pair, partners: Pair, draws: torch.Tensor) -> Pair:
        """Inputs (N, C, *spatial) and targets mixed with those of their partners."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixup(Mixing):
    """Mixes samples and their targets with others of the batch; the share is drawn from Beta(alpha, alpha).

    Source: arXiv 1710.09412, equation 2.
    """

    alpha: PositiveFloat
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    targets: ClassVar[tuple[Targets, ...]] = ("labels", "values", "images")

    def mix(self, own: Pair, partners: Pair, draws: torch.Tensor) -> Pair:
        """Mixed inputs (N, C, *spatial) and targets (N, K) or (N, C, *spatial)."""
        return _mixed(own[0], partners[0], draws[:, 0]), _mixed_targets(own[1], partners[1], draws[:, 0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(Mixing):
    """Replaces a box in samples with that of others of the batch; the share is drawn from Beta(alpha, alpha).

    Source: arXiv 1905.04899, section 3.1.
    """

    alpha: PositiveFloat
    num_draws: ClassVar[int] = 4
    targets: ClassVar[tuple[Targets, ...]] = ("labels", "values", "images", "masks")

    def mix(self, own: Pair, partners: Pair, draws: torch.Tensor) -> Pair:
        """Inputs (N, C, H, W), and targets (N, K), weighted by the remaining area, or (N, C, H, W)."""
        (input, target), (other, other_target) = own, partners
        box = _boxes(draws, input.shape[2:])
        pasted = torch.where(box, other, input)
        if target is None or other_target is None:
            return pasted, None
        if target.ndim == 2:
            return pasted, _mixed(target, other_target, 1 - box.float().mean((1, 2, 3)))
        return pasted, torch.where(_boxes(draws, target.shape[2:]), other_target, target)


def beta_quantiles(shares: np.ndarray, alpha: float) -> np.ndarray:
    """The numbers below which Beta(alpha, alpha) has these `shares` of its mass, float32: draws from uniform ones."""
    below, places = _half_of_beta(alpha)
    lower = np.interp(np.minimum(shares, 1 - shares), below, places)
    if alpha < 1:
        lower **= 1 / alpha
    return np.where(shares < 0.5, lower, 1 - lower).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _half_of_beta(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The mass of Beta(alpha, alpha) below some places up to 1/2; for an alpha below 1, places to the power of alpha.

    The density is infinite at 0 for an alpha below 1, but that of the power is not.
    """
    power = min(alpha, 1.0)
    places = np.linspace(0, 0.5**power, _PLACES)
    density = (1 - places ** (1 / power)) ** (alpha - 1) * places ** ((alpha - power) / power)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return mass / mass[-1] / 2, places


def _mixed(values: torch.Tensor, others: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    share = spread_per_sample(share, values.ndim)
    return share * to_floats(values) + (1 - share) * to_floats(others)


def _mixed_targets(target: torch.Tensor | None, other: torch.Tensor | None, share: torch.Tensor) -> torch.Tensor | None:
    return None if target is None or other is None else _mixed(target, other, share)


def _boxes(draws: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The boxes (N, 1, H, W) of the other samples, cropped at the border."""
    half = (1 - draws[:, :1]).sqrt() / 2
    bounds = torch.cat([draws[:, 2:] - half, draws[:, 2:] + half], 1)
    return mark_rectangles((bounds * constants((*size, *size), bounds))[:, None], size)


TRANSFORMS = {"random_patches": RandomPatches, "mixup": Mixup, "cutmix": CutMix}
