"""One random change per sample, of geometry or colour, with random strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from rayrml.data.image_ops import Resampling
from rayrml.data.transforms import adjustments
from rayrml.data.transforms.moving import Motion, map_around_center
from rayrml.data.transforms.sampling import warp
from rayrml.data.transforms.transform import Transform
from rayrml.data.transforms.turning import make_turns
from rayrml.tensors import to_floats

Maps = Callable[[torch.Tensor, Sequence[float | torch.Tensor]], torch.Tensor]
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrivialAugment(Transform):
    """Applies one of 14 changes to each sample, all equally likely, in one of `num_magnitudes` strengths.

    The changes: none, shear and shift along either axis, rotation, brightness, saturation, contrast, sharpness,
    posterize, solarize, stretch contrast, equalize. Only changes of geometry apply to masks.
    Source: arXiv 2103.10158, the wide ranges.
    """

    num_magnitudes: Annotated[int, Field(ge=2)] = 31
    num_draws: ClassVar[int] = 3
    reads_pixels: ClassVar[bool] = True
    draws_on_host: ClassVar[bool] = True  # so that each change's samples are known without a GPU synchronization

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        kinds, strengths, signed = self._choose(draws)
        changed = to_floats(images).clone()
        for kind in kinds.unique().tolist():
            chosen = (kinds == kind).nonzero()[:, 0]
            amounts = torch.stack([strengths[chosen], signed[chosen]], 1).to(images.device, non_blocking=True)
            samples = chosen.to(images.device, non_blocking=True)
            changed[samples] = _change(kind, changed[samples], amounts, resampling)
        return changed

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """That of the changes of geometry; the others leave all pixels where they are."""
        kinds, _, signed = self._choose(draws)
        maps = make_turns(torch.zeros_like(signed))
        for kind, geometry in enumerate(GEOMETRY):
            maps = torch.where((kinds == kind)[:, None, None], geometry(signed, sizes.unbind(1)), maps)
        return dataclasses.replace(map_around_center(maps, sizes), crops=kinds < len(GEOMETRY))

    def _choose(self, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Kind, strength, and strength with a random sign (N,) of each sample's change."""
        strengths = (draws[:, 1] * self.num_magnitudes).floor() / (self.num_magnitudes - 1)
        return (draws[:, 0] * _NUM_KINDS).long(), strengths, torch.where(draws[:, 2] < 0.5, strengths, -strengths)


def _change(kind: int, images: torch.Tensor, amounts: torch.Tensor, resampling: Resampling) -> torch.Tensor:
    """Images changed in one way, by `amounts` (N, 2): strengths in [0, 1], and the same with random signs."""
    strength, signed = amounts.unbind(1)
    if kind < len(GEOMETRY):
        return warp(images, GEOMETRY[kind](signed, images.shape[2:]), resampling)
    if kind < len(GEOMETRY) + len(COLOR) and resampling != "nearest":
        change, amount = COLOR[kind - len(GEOMETRY)]
        return change(images, amount(strength, signed))
    return images


def _shear_x(signed: torch.Tensor, size: Sequence[float | torch.Tensor]) -> torch.Tensor:
    """Shifts rows sideways, lower rows further."""
    maps = make_turns(torch.zeros_like(signed))
    maps[:, 0, 1] = maps[:, 0, 2] = 0.99 * signed
    maps[:, 0, 2] *= size[0] / 2  # the top row stays where it is
    return maps


def _shear_y(signed: torch.Tensor, size: Sequence[float | torch.Tensor]) -> torch.Tensor:
    """Shifts columns up or down, those further right more."""
    maps = make_turns(torch.zeros_like(signed))
    maps[:, 1, 0] = maps[:, 1, 2] = 0.99 * signed
    maps[:, 1, 2] *= size[1] / 2  # the first column stays where it is
    return maps


def _shift_x(signed: torch.Tensor, size: Sequence[float | torch.Tensor]) -> torch.Tensor:
    """Shifts images sideways by up to 32 pixels."""
    maps = make_turns(torch.zeros_like(signed))
    maps[:, 0, 2] = -(32 * signed).trunc()
    return maps


def _shift_y(signed: torch.Tensor, size: Sequence[float | torch.Tensor]) -> torch.Tensor:
    """Shifts images up or down by up to 32 pixels."""
    maps = make_turns(torch.zeros_like(signed))
    maps[:, 1, 2] = -(32 * signed).trunc()
    return maps


def _turn(signed: torch.Tensor, size: Sequence[float | torch.Tensor]) -> torch.Tensor:
    return make_turns(135 * signed)


def _factor(strength: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    return 1 + 0.99 * signed


def _bits(strength: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    return 8 - (6 * strength).round()


def _threshold(strength: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
    return 1 - strength


GEOMETRY: tuple[Maps, ...] = (_shear_x, _shear_y, _shift_x, _shift_y, _turn)
COLOR: tuple[tuple[Change, Change], ...] = (
    (adjustments.adjust_brightness, _factor),
    (adjustments.adjust_saturation, _factor),
    (adjustments.adjust_contrast, _factor),
    (adjustments.adjust_sharpness, _factor),
    (adjustments.posterize, _bits),
    (adjustments.solarize, _threshold),
    (adjustments.stretch_contrast, _factor),
    (adjustments.equalize, _factor),
)
_NUM_KINDS = len(GEOMETRY) + len(COLOR) + 1  # the last one changes nothing

TRANSFORMS = {"trivial_augment": TrivialAugment}
