"""What a row of the transform table builds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt

from rayrml.config.json_files import format_value
from rayrml.data.draws import Draws
from rayrml.data.image_ops import IMAGES, ImageOperation, Resampling, Shape
from rayrml.data.transforms.moving import Motion


def _size(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"expected [height, width] in pixels, got {format_value(value)}")
    return tuple(value)


def _sizes(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 3:
        expected = "expected one number for each spatial axis, such as [height, width] for images"
        raise ValueError(f"{expected}, got {format_value(value)}")
    return tuple(value)


def _interval(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"expected [lowest, highest], got {format_value(value)}")
    return tuple(value)


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [lowest, highest], got {list(value)}")
    return value


Probability = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_size)]
Sizes = Annotated[tuple[PositiveInt, ...], BeforeValidator(_sizes)]
Interval = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_interval), AfterValidator(_ordered)]
AreaShares = Annotated[tuple[Probability, Probability], BeforeValidator(_interval), AfterValidator(_ordered)]


class Transform:
    """A change of batches of samples (N, C, *spatial), images or others, on any device.

    A subclass is a row: its fields are its JSON, `__call__` applies it, and `motion` says where pixels go. A random
    transform sets `num_draws` to the number of random numbers in [0, 1) that it needs for each sample, and gets them as
    `draws`; the input and target of a sample get the same ones, whatever their sizes.

    Attributes:
        dimensions: the supported numbers of spatial axes; `shape` is called only for such samples.
        num_draws: how many random numbers an image needs, 0 if nothing is random.
        reads_pixels: whether values must be fractions of white, in [0, 1], so that it cannot follow `normalize`.
        changes_masks: whether it changes the values of masks, and does not only move them.
        fixes_size: whether samples of all sizes come out with one size.
        adds_pixels: whether it adds pixels of a gray that means something else after `normalize`.
        draws_on_host: whether `draws` must stay where they were drawn, on the CPU.
    """

    dimensions: ClassVar[tuple[int, ...]] = IMAGES
    num_draws: ClassVar[int] = 0
    reads_pixels: ClassVar[bool] = False
    changes_masks: ClassVar[bool] = False
    fixes_size: ClassVar[bool] = False
    adds_pixels: ClassVar[bool] = False
    draws_on_host: ClassVar[bool] = False

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """The changed samples.

        Args:
            images: (N, C, *spatial), pixels as bytes as they were read, or floats.
            draws: (N, number) random numbers in [0, 1), as many as `draws_for` says.
            resampling: how pixels are interpolated; `nearest` for masks, whose values must not be mixed.
        """
        raise NotImplementedError

    def change_one(self, image: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """Nearly the same for a batch of one sample, in less time where that is possible."""
        return self(image, draws, resampling)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion | None:
        """Where the pixels of images of these heights and widths (N, 2) go, for boxes to follow; None if they stay.

        `draws` and the result are on the CPU; images may have different sizes.
        """
        return None

    def motion_one(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion | None:
        """The same for images that `change_one` changes, each by itself."""
        return self.motion(draws, sizes)

    def draws_for(self, num_axes: int) -> int:
        """The number of random numbers that a sample with `num_axes` spatial axes needs."""
        return self.num_draws

    def draw(self, num_samples: int, source: Draws | None, num_axes: int = 2) -> torch.Tensor:
        """The numbers (N, number) that a batch of `num_samples` needs, on the CPU.

        Args:
            num_samples: N.
            source: the source of the numbers; can be left out if there are none.
            num_axes: the number of spatial axes of inputs or targets, whichever have more.
        """
        number = self.draws_for(num_axes)
        if not number:
            return torch.empty(num_samples, 0)
        if source is None:
            raise ValueError("random transforms need a source of random numbers")
        return torch.from_numpy(source.uniform(num_samples, number))

    def shape(self, shape: Shape) -> Shape:
        """The output shape (C, *spatial). Raises ConfigError if samples of `shape` are not supported."""
        return shape

    def on_image(self, resampling: Resampling, pixels: bool = True) -> ImageOperation | None:
        """The same for one sample during decoding, of pixels or not; None if only batches can be changed."""
        return None

    def without_pixels(self) -> Transform:
        """The same for samples that are not pixels."""
        return self

    def evaluation(self) -> Transform | None:
        """The transform that replaces it in evaluation; None for none."""
        return None if self.num_draws else self

    def room(self) -> float | None:
        """How many times larger images must be for a later `resize` to be done first; None if it cannot be."""
        return None

    def joined(self, following: Transform) -> Transform | None:
        """One transform that replaces this and the `following` one and is better than both in turn; None for none."""
        return None


def spread_per_sample(values: torch.Tensor, ndim: int = 4) -> torch.Tensor:
    """(N,) as (N, 1, ..., 1) with `ndim` axes, to broadcast with images or other samples."""
    return values.view(-1, *(1,) * (ndim - 1))
