"""Operations on one decoded image, done once and for all in the task that decodes it.

Decoding tasks must start fast, so this module imports neither torch nor torchvision. Images are arrays (C, H, W) uint8.
The rows of `TRANSFORMS` say which of them have an operation here.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from rayrml.data import colors
from rayrml.errors import ConfigError, Problem

Shape = tuple[int, ...]
Resampling = Literal["bilinear", "nearest"]

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


class ImageOperation(Protocol):
    """What makes one image of another."""

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """The image (C, H, W) uint8 that comes out."""
        ...

    def shape(self, shape: Shape, /) -> Shape:
        """The shape (C, H, W) of what comes out. Raises ConfigError if images of `shape` cannot go in."""
        ...


@dataclasses.dataclass(frozen=True)
class Resize:
    """Images in the size (height, width): bilinear with antialias, or the nearest pixel."""

    size: tuple[int, int]
    resampling: Resampling = "bilinear"

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W) -> (C, height, width)."""
        height, width = self.size
        return _each_channel(image, lambda channel: channel.resize((width, height), _PILLOW[self.resampling]))

    def shape(self, shape: Shape, /) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """The middle of an image, in the size (height, width); what the image lacks is black."""

    size: tuple[int, int]

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W) -> (C, height, width)."""
        rows, columns = (crop_window(old, new) for old, new in zip(image.shape[1:], self.size, strict=True))
        cut = image[:, rows.source, columns.source]
        if cut.shape[1:] == self.size:
            return np.ascontiguousarray(cut)
        whole = np.zeros((len(image), *self.size), image.dtype)
        whole[:, rows.destination, columns.destination] = cut
        return whole

    def shape(self, shape: Shape, /) -> Shape:
        """(C, height, width)."""
        return (shape[0], *self.size)


@dataclasses.dataclass(frozen=True)
class Rotate:
    """Images turned clockwise about their middle, in their own size; corners that nothing fills are black."""

    degrees: float
    resampling: Resampling = "bilinear"

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W), of the same shape."""
        # Pillow turns the other way round.
        return _each_channel(image, lambda channel: channel.rotate(-self.degrees, _PILLOW[self.resampling]))

    def shape(self, shape: Shape, /) -> Shape:
        """(C, H, W), as it is."""
        return shape


@dataclasses.dataclass(frozen=True)
class ConvertColor:
    """Images in the other colours that one of OpenCV's codes names, such as `BGR2HSV`."""

    code: str

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W) -> (1 or 3, H, W)."""
        return colors.convert(self.code, image.astype(np.float32), np).astype(np.uint8)

    def shape(self, shape: Shape, /) -> Shape:
        """(1 or 3, H, W)."""
        return colors.shape(self.code, shape)


@dataclasses.dataclass(frozen=True)
class ImageOperations:
    """Operations in their order, each with its place in the configuration for what is wrong with it."""

    steps: tuple[tuple[str, ImageOperation], ...] = ()

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image (C, H, W) uint8 that comes out of all of them."""
        for _, operation in self.steps:
            image = operation(image)
        return image

    def shape(self, shape: Shape) -> Shape:
        """The shape (C, H, W) that comes out.

        Raises:
            ConfigError: an operation cannot take the images that reach it.
        """
        for where, operation in self.steps:
            with located(where):
                shape = operation.shape(shape)
        return shape


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the pixels of one axis come from, and where they go."""

    source: slice
    destination: slice


def crop_window(old: int, new: int) -> Window:
    """The middle `new` of `old` pixels; of a smaller image all, in the middle of what comes out."""
    if new <= old:
        first = round((old - new) / 2)
        return Window(slice(first, first + new), slice(0, new))
    first = (new - old) // 2
    return Window(slice(0, old), slice(first, first + old))


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Give mistakes that are found inside the place `where` in the configuration."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(Problem(where, p.message) for p in error.problems)) from None


def _each_channel(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Pillow's `change` of each channel; faster than of the whole, which Pillow wants channels last."""
    return np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(channel)))) for channel in image])
