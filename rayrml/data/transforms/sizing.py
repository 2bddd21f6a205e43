"""Images in other sizes: resized, cropped, zoomed."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

from rayrml.data import image_ops
from rayrml.data.image_ops import Resampling, Shape, crop_window
from rayrml.data.transforms.transform import Size, Transform, to_floats


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


TRANSFORMS = {"resize": Resize, "center_crop": CenterCrop}
