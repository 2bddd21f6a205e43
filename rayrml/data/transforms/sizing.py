"""Images in other sizes: resized, cropped, zoomed."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from rayrml.data import image_ops
from rayrml.data.image_ops import Resampling, Shape, crop_window
from rayrml.data.transforms.sampling import boxes, random_boxes
from rayrml.data.transforms.transform import AreaShares, Interval, Size, Transform, to_floats

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize(Transform):
    """Images in the size [height, width]: bilinear with antialias, masks by the nearest pixel."""

    size: Size

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        if images.shape[2:] == self.size:
            return images
        if resampling == "bilinear":
            return F.interpolate(to_floats(images), self.size, mode="bilinear", antialias=True)
        return F.interpolate(images, self.size, mode="nearest-exact")

    def shape(self, shape: Shape) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)

    def on_image(self, resampling: Resampling) -> image_ops.Resize:
        """The same, by Pillow."""
        return image_ops.Resize(self.size, resampling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterCrop(Transform):
    """The middle of images, in the size [height, width]; what smaller images lack is zero."""

    size: Size

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        rows, columns = (crop_window(old, new) for old, new in zip(images.shape[2:], self.size, strict=True))
        cut = images[:, :, rows.source, columns.source]
        if cut.shape[2:] == self.size:
            return cut
        whole = images.new_zeros((*images.shape[:2], *self.size))
        whole[:, :, rows.destination, columns.destination] = cut
        return whole

    def shape(self, shape: Shape) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)

    def on_image(self, resampling: Resampling) -> image_ops.CenterCrop:
        """The same, by slices."""
        return image_ops.CenterCrop(self.size)


class Crop(Transform):
    """A random box of each image, brought back to the image's size or to that of a `resize` that follows."""

    def bounds(self, draws: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Boxes (N, 4) of images (C, H, W): top, left, bottom and right, as shares of height and width."""
        raise NotImplementedError

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W), of the same shape."""
        return boxes(images, self.bounds(draws, images.shape[1:]), images.shape[2:], resampling)

    def joined(self, following: Transform) -> Transform | None:
        """With a `resize`, one that resamples once instead of twice."""
        return ResizedCrop(self, following) if isinstance(following, Resize) else None


@dataclasses.dataclass(frozen=True)
class ResizedCrop(Transform):
    """A random box of each image in the size of `resize`."""

    crop: Crop
    resize: Resize

    def draw(self, num_samples: int, generator: torch.Generator | None) -> torch.Tensor:
        """The numbers of the box."""
        return self.crop.draw(num_samples, generator)

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        return boxes(images, self.crop.bounds(draws, images.shape[1:]), self.resize.size, resampling)

    def shape(self, shape: Shape) -> Shape:
        """(C, height, width)."""
        return self.resize.shape(shape)

    def evaluation(self) -> Transform:
        """The size without the box."""
        return self.resize


@dataclasses.dataclass(frozen=True, kw_only=True)
class JitterCrop(Crop):
    """Each side of an image cropped by a random share of up to half of this one; the rest fills the image's size."""

    share: Share
    num_draws: ClassVar[int] = 4

    def bounds(self, draws: torch.Tensor, shape: Shape) -> torch.Tensor:
        """(N, 4), each side by its own draw."""
        cut = draws * (self.share / 2)
        return torch.cat([cut[:, :2], 1 - cut[:, 2:]], 1)

    def room(self) -> float:
        """As large as the largest crop leaves too few pixels otherwise."""
        return 1 / (1 - self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomZoom(Crop):
    """Images zoomed in about their middle: all sides lose the same random share of up to half of this one."""

    share: Share
    num_draws: ClassVar[int] = 1

    def bounds(self, draws: torch.Tensor, shape: Shape) -> torch.Tensor:
        """(N, 4), all sides by the same draw."""
        cut = (draws * (self.share / 2)).expand(-1, 2)
        return torch.cat([cut, 1 - cut], 1)

    def room(self) -> float:
        """As large as the largest crop leaves too few pixels otherwise."""
        return 1 / (1 - self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Crop):
    """A random box of each image in the size [height, width]; `scale`: its share of the area, `ratio`: width by height.

    In evaluation, the whole image in that size. Source: arXiv 1409.4842, section 6.
    """

    size: Size
    scale: AreaShares = (0.08, 1.0)
    ratio: Interval = (3 / 4, 4 / 3)
    num_draws: ClassVar[int] = 4

    def bounds(self, draws: torch.Tensor, shape: Shape) -> torch.Tensor:
        """(N, 4), of random area, shape and place."""
        return random_boxes(draws, self.scale, self.ratio, shape[1] / shape[2])

    def __call__(self, images: torch.Tensor, draws: torch.Tensor, resampling: Resampling) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        return boxes(images, self.bounds(draws, images.shape[1:]), self.size, resampling)

    def shape(self, shape: Shape) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)

    def joined(self, following: Transform) -> None:
        """It has a size of its own."""

    def evaluation(self) -> Transform:
        """The whole image in the same size."""
        return Resize(size=self.size)


TRANSFORMS = {
    "resize": Resize,
    "center_crop": CenterCrop,
    "jitter_crop": JitterCrop,
    "random_zoom": RandomZoom,
    "random_resized_crop": RandomResizedCrop,
}
