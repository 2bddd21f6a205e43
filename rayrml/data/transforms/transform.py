"""What a row of the transforms' table builds."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt

from rayrml.data.image_ops import ImageOperation, Resampling, Shape


def _size(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"expected [height, width] in pixels, got {json.dumps(value, default=str)}")
    return tuple(value)


def _interval(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"expected [lowest, highest], got {json.dumps(value, default=str)}")
    return tuple(value)


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [lowest, highest], got {list(value)}")
    return value


Probability = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_size)]
Interval = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_interval), AfterValidator(_ordered)]
AreaShares = Annotated[tuple[Probability, Probability], BeforeValidator(_interval), AfterValidator(_ordered)]


class Transform:
    """A change of batches of images (N, C, H, W), on whatever device they are.

    A subclass is a row: its fields are its JSON, and it says what it does in `__call__`. A random one names in
    `num_draws` how many numbers of [0, 1) it needs for each sample, and gets them as `draws`; input and target of a
    sample get the same ones, whatever their sizes.

    Attributes:
        num_draws: how many random numbers a sample needs, 0 for what is not random.
        reads_pixels: whether values must be shares of white, in [0, 1], so that it cannot follow `normalize`.
        draws_on_host: whether `draws` are wanted where they were drawn, on the CPU.
    """

    num_draws: ClassVar[int] = 0
    reads_pixels: ClassVar[bool] = False
    draws_on_host: ClassVar[bool] = False

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """The changed images.

        Args:
            images: (N, C, H, W), bytes as they were read or floats.
            draws: (N, num_draws) random numbers in [0, 1).
            resampling: how values between pixels are found; `nearest` for masks, whose values must not be mixed.
        """
        raise NotImplementedError

    def draw(self, num_samples: int, generator: torch.Generator | None) -> torch.Tensor:
        """The numbers (N, num_draws) that a batch of `num_samples` needs, on the generator's device."""
        if not self.num_draws:
            return torch.empty(num_samples, 0)
        if generator is None:
            raise ValueError("random transforms need a generator")
        return torch.rand((num_samples, self.num_draws), generator=generator, device=generator.device)

    def shape(self, shape: Shape) -> Shape:
        """The shape (C, H, W) of what comes out. Raises ConfigError if images of `shape` cannot go in."""
        return shape

    def on_image(self, resampling: Resampling) -> ImageOperation | None:
        """The same for one image that is being decoded; None if it can be done on batches only."""
        return None

    def evaluation(self) -> Transform | None:
        """What takes its place in evaluation; None for nothing."""
        return None if self.num_draws else self

    def room(self) -> float | None:
        """How many times larger images must be for a later `resize` to be done first; None if it cannot be."""
        return None

    def joined(self, following: Transform) -> Transform | None:
        """One transform that does this one and the `following` one better than both in turn; None for none."""
        return None


def to_floats(images: torch.Tensor) -> torch.Tensor:
    """Bytes 0..255 as float32 in [0, 1]; anything else stays as it is."""
    return torch.div(images, 255) if images.dtype == torch.uint8 else images


def per_sample(values: torch.Tensor) -> torch.Tensor:
    """(N,) as (N, 1, 1, 1), to go with images."""
    return values.view(-1, 1, 1, 1)
