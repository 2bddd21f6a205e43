"""Images with other values at the same pixels."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Annotated

import torch
from pydantic import AfterValidator

from rayrml.data.image_ops import Resampling, Shape
from rayrml.data.transforms.transform import Transform, to_floats
from rayrml.errors import ConfigError, Problem


def _positive(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
    if min(value if isinstance(value, tuple) else (value,), default=0) <= 0:
        raise ValueError(f"expected numbers above 0, got {json.dumps(value)}")
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalize(Transform):
    """Values in [0, 1] less `mean` and over `std`: a number each, or one for each channel."""

    mean: float | tuple[float, ...] = 0.0
    std: Annotated[float | tuple[float, ...], AfterValidator(_positive)] = 1.0

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape, as floats."""
        return (to_floats(images) - _by_channel(self.mean, images.device)) / _by_channel(self.std, images.device)

    def shape(self, shape: Shape) -> Shape:
        """(C, H, W), as it is."""
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) not in (1, shape[0]):
                message = f"'{name}' has {len(value)} numbers, but images have {shape[0]} channels here"
                raise ConfigError(Problem("", message))
        return shape


@functools.cache  # so that a GPU is not sent the same numbers for each batch
def _by_channel(value: float | tuple[float, ...], device: torch.device) -> torch.Tensor | float:
    """`value` as it goes with images (N, C, H, W)."""
    return torch.tensor(value, device=device).view(-1, 1, 1) if isinstance(value, tuple) else value


TRANSFORMS = {"normalize": Normalize}
