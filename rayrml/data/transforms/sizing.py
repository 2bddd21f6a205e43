"""Transforms that change the size of samples: resize, crop and zoom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from rayrml.data import image_ops
from rayrml.data.image_ops import (
    ANY_DIMENSION,
    IMAGES,
    Resampling,
    Shape,
    crop_window,
    fill_of,
    fit_size,
    resize_shape,
)
from rayrml.data.transforms.moving import Motion, enlarge_windows, stretch
from rayrml.data.transforms.sampling import draw_boxes, resample_boxes
from rayrml.data.transforms.transform import AreaShares, Interval, Size, Sizes, Transform
from rayrml.tensors import to_floats

Share = Annotated[float, Field(ge=0, lt=1)]
Lengths = Sequence[float | torch.Tensor]  # (C, *spatial) of all samples, or with lengths (N,) of each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize(Transform):
    """Resizes samples to one length per axis, as [height, width]: linear with antialiasing, masks by nearest value.

    All numbers except bytes of pixels are interpolated as float32.
    """

    size: Sizes
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    fixes_size: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *size)."""
        if images.shape[2:] == self.size:
            return images
        if resampling == "nearest":
            return F.interpolate(images, self.size, mode="nearest-exact")
        if images.ndim == 4:
            return F.interpolate(to_floats(images), self.size, mode="bilinear", antialias=True)
        num_axes = images.ndim - 2
        whole = (torch.arange(2 * num_axes, device=images.device) >= num_axes).float()[None]  # 0 to 1 along each axis
        return resample_boxes(images, whole, self.size, resampling)

    def change_one(self, image: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """The same for a batch of one sample; pixels stay bytes, which takes a quarter of the time."""
        if image.dtype == torch.uint8 and image.ndim == 4 and resampling == "bilinear":
            return F.interpolate(image, self.size, mode="bilinear", antialias=True)
        return self(image, draws, resampling)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """All of each image fills the new size."""
        new = _repeat(self.size, sizes)
        return stretch(new / sizes.double(), torch.zeros_like(sizes), new)

    def shape(self, shape: Shape) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.Resize:
        """The same operation, by torch or numpy."""
        return image_ops.Resize(self.size, resampling, pixels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterCrop(Transform):
    """Crops samples to their center, one length per axis, as [height, width]; smaller ones are padded with zeros."""

    size: Sizes
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    fixes_size: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *size)."""
        return _crop_or_pad(images, self.size)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """The middle of each image becomes the middle of the new size."""
        new = _repeat(self.size, sizes)
        return stretch(torch.ones_like(new), _starts_in(new, sizes), new, crops=(new < sizes).any(1))

    def shape(self, shape: Shape) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.CenterCrop:
        """The same operation, by slicing."""
        return image_ops.CenterCrop(self.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Letterbox(Transform):
    """Resizes samples until they fit into one length per axis, as [height, width], and keeps their proportions.

    Gray (bytes of 114) fills the rest on both sides, and zeros that of masks and of arrays of other numbers.
    Interpolation is that of `resize`.
    """

    size: Sizes
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION
    fixes_size: ClassVar[bool] = True
    adds_pixels: ClassVar[bool] = True

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial) -> (N, C, *size)."""
        fitted = Resize(size=fit_size(images.shape[2:], self.size))(images, draws, resampling)
        gray = self.adds_pixels and resampling != "nearest"
        return _crop_or_pad(fitted, self.size, fill_of(fitted.dtype == torch.uint8) if gray else 0)

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """All of each image fills whole pixels in the middle of the new size."""
        new, old = _repeat(self.size, sizes), sizes.double()
        fitted = (old * (new / old).amin(1, keepdim=True) + 0.5).floor().clamp(min=1)
        return stretch(fitted / old, _starts_in(new, fitted), new)

    def without_pixels(self) -> Transform:
        """The same with zeros around samples."""
        return _ArrayLetterbox(size=self.size)

    def shape(self, shape: Shape) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def on_image(self, resampling: Resampling, pixels: bool = True) -> image_ops.Letterbox:
        """The same operation, by torch or numpy."""
        return image_ops.Letterbox(self.size, resampling, pixels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ArrayLetterbox(Letterbox):
    """A letterbox of samples that are not pixels."""

    adds_pixels: ClassVar[bool] = False


class _Boxes(Transform):
    """The base of what resizes a random box of each sample."""

    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    def bounds(self, draws: torch.Tensor, shape: Lengths) -> torch.Tensor:
        """Boxes (N, 2 * axes) of samples (C, *spatial): all starts, then all ends, as shares of each axis."""
        raise NotImplementedError

    def motion(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """A box of each image fills the new size."""
        starts, ends = self._ends(draws, sizes)
        return enlarge_windows(starts, ends, self._new_sizes(sizes))

    def motion_one(self, draws: torch.Tensor, sizes: torch.Tensor) -> Motion:
        """The same for boxes in whole pixels."""
        starts, ends = self._ends(draws, sizes)
        first = starts.round().minimum(sizes - 1)
        return enlarge_windows(first, ends.round().maximum(first + 1), self._new_sizes(sizes))

    def _ends(self, draws: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first and last places (N, 2) of boxes in images of these sizes."""
        starts, ends = self.bounds(draws, (0, *sizes.unbind(1))).double().chunk(2, 1)
        return starts * sizes, ends * sizes

    def _new_sizes(self, sizes: torch.Tensor) -> torch.Tensor:
        return sizes

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, *spatial), of the shape that is declared."""
        shape = tuple(images.shape[1:])
        return resample_boxes(images, self.bounds(draws, shape), self.shape(shape)[1:], resampling)

    def change_one(self, image: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """The same for a batch of one sample, with the box in whole pixels, which takes a quarter of the time."""
        shape = tuple(image.shape[1:])
        starts, ends = self.bounds(draws, shape)[0].view(2, -1).tolist()
        box: list[slice] = []
        for start, end, length in zip(starts, ends, shape[1:], strict=True):
            first = min(round(start * length), length - 1)
            box.append(slice(first, max(round(end * length), first + 1)))
        return Resize(size=self.shape(shape)[1:]).change_one(image[:, :, *box], draws, resampling)


class Crop(_Boxes):
    """A random box of each sample, resized to the sample's size or to that of a following `resize`."""

    def joined(self, following: Transform) -> Transform | None:
        """With a `resize`, a transform that resamples once instead of twice."""
        return ResizedCrop(self, following) if isinstance(following, Resize) else None


@dataclasses.dataclass(frozen=True)
class ResizedCrop(_Boxes):
    """A random box of each sample, resized to the size of `resize`."""

    crop: Crop
    resize: Resize
    fixes_size: ClassVar[bool] = True

    def draws_for(self, num_axes: int) -> int:
        """The number of draws for the box."""
        return self.crop.draws_for(num_axes)

    def bounds(self, draws: torch.Tensor, shape: Lengths) -> torch.Tensor:
        """Those of the crop."""
        return self.crop.bounds(draws, shape)

    def _new_sizes(self, sizes: torch.Tensor) -> torch.Tensor:
        return _repeat(self.resize.size, sizes)

    def shape(self, shape: Shape) -> Shape:
        """(C, *size)."""
        return self.resize.shape(shape)

    def evaluation(self) -> Transform:
        """The resize without the crop."""
        return self.resize


@dataclasses.dataclass(frozen=True, kw_only=True)
class JitterCrop(Crop):
    """Crops each side of a sample by a random share, up to half of this one, and resizes back to the sample's size."""

    share: Share
    num_draws: ClassVar[int] = 4

    def draws_for(self, num_axes: int) -> int:
        """One for each side of each axis."""
        return 2 * num_axes

    def bounds(self, draws: torch.Tensor, shape: Lengths) -> torch.Tensor:
        """(N, 2 * axes), each side by its own draw; the last axes' draws if the other part of the pair has more."""
        starts, ends = (draws * (self.share / 2)).chunk(2, 1)
        num_axes = len(shape) - 1
        return torch.cat([starts[:, -num_axes:], 1 - ends[:, -num_axes:]], 1)

    def room(self) -> float:
        """Large enough that even the largest crop leaves enough pixels."""
        return 1 / (1 - self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomZoom(Crop):
    """Zooms into samples around their center: all sides lose the same random share, up to half of this one."""

    share: Share
    num_draws: ClassVar[int] = 1

    def bounds(self, draws: torch.Tensor, shape: Lengths) -> torch.Tensor:
        """(N, 2 * axes), all sides by the same draw."""
        cut = (draws * (self.share / 2)).expand(-1, len(shape) - 1)
        return torch.cat([cut, 1 - cut], 1)

    def room(self) -> float:
        """Large enough that even the largest crop leaves enough pixels."""
        return 1 / (1 - self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Crop):
    """Resizes a random box of each image to [height, width]; `scale`: share of the area, `ratio`: width by height.

    In evaluation, the whole image is resized. Source: arXiv 1409.4842, section 6.
    """

    size: Size
    scale: AreaShares = (0.08, 1.0)
    ratio: Interval = (3 / 4, 4 / 3)
    dimensions: ClassVar[tuple[int, ...]] = IMAGES
    num_draws: ClassVar[int] = 4
    fixes_size: ClassVar[bool] = True

    def bounds(self, draws: torch.Tensor, shape: Lengths) -> torch.Tensor:
        """(N, 4), with random area, shape and position."""
        return draw_boxes(draws, self.scale, self.ratio, _divide(shape[1], shape[2]))

    def _new_sizes(self, sizes: torch.Tensor) -> torch.Tensor:
        return _repeat(self.size, sizes)

    def shape(self, shape: Shape) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)

    def joined(self, following: Transform) -> None:
        """None: it has its own size."""

    def evaluation(self) -> Transform:
        """The whole image, resized to the same size."""
        return Resize(size=self.size)


def _repeat(size: Sequence[int], sizes: torch.Tensor) -> torch.Tensor:
    """(N, 2) one size for each of these images."""
    return sizes.new_tensor(size).expand(len(sizes), -1)


def _starts_in(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """(N, 2) where samples of the sizes `old` begin in samples of the sizes `new`; see `crop_window`."""
    free = (new - old).double()
    return torch.where(free < 0, -(-free / 2).round(), (free / 2).floor())


def _divide(height: float | torch.Tensor, width: float | torch.Tensor) -> float | torch.Tensor:
    """Height by width, of one image or of several (N,)."""
    if isinstance(height, torch.Tensor) and isinstance(width, torch.Tensor):
        return (height.double() / width.double()).float()
    return height / width


def _crop_or_pad(images: torch.Tensor, size: Shape, fill: float = 0) -> torch.Tensor:
    """(N, C, *size): the center of samples, or samples in the center of what is filled."""
    windows = [crop_window(old, new) for old, new in zip(images.shape[2:], size, strict=True)]
    cut = images[:, :, *(window.source for window in windows)]
    if cut.shape[2:] == size:
        return cut
    whole = images.new_full((*images.shape[:2], *size), fill)
    whole[:, :, *(window.destination for window in windows)] = cut
    return whole


TRANSFORMS = {
    "resize": Resize,
    "center_crop": CenterCrop,
    "letterbox": Letterbox,
    "jitter_crop": JitterCrop,
    "random_zoom": RandomZoom,
    "random_resized_crop": RandomResizedCrop,
}
