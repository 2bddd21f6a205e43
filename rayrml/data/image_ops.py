"""Operations applied once to each decoded sample, in the task that decodes it.

Decoding tasks must start fast, so this module imports neither torch nor torchvision until it needs them. Samples are
arrays (C, *spatial): pixels of an image (C, H, W), bytes or fractions of white, or numbers of any type with one to
three spatial axes. The rows of `TRANSFORMS` say which of them have an operation here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal, Protocol

import numpy as np
from PIL import Image

from rayrml.data import colors
from rayrml.data.draws import Draws
from rayrml.errors import ConfigError, Problem

Shape = tuple[int, ...]
Resampling = Literal["bilinear", "nearest"]

IMAGES = (2,)
ANY_DIMENSION = (1, 2, 3)
GRAY = 114  # of 255: what a letterbox puts around pixels
LARGEST_TABLE = 2**20  # entries of a weight matrix; for longer axes, each value's neighbours are listed instead

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
_AXES = ("depth", "height", "width")


class ImageOperation(Protocol):
    """An operation that turns one sample into another.

    Attributes:
        dimensions: the supported numbers of spatial axes.
    """

    dimensions: ClassVar[tuple[int, ...]]

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """The resulting sample (C, *spatial)."""
        ...

    def shape(self, shape: Shape, /) -> Shape:
        """The output shape (C, *spatial). Raises ConfigError if samples of `shape` are not supported."""
        ...

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The output type."""
        ...


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes samples to (*spatial): linear with antialiasing, or by the nearest value.

    Attributes:
        size: a length for each spatial axis.
        resampling: how values are interpolated.
        pixels: whether bytes are pixels, which stay bytes; other numbers become float32 if they are interpolated.
    """

    size: Shape
    resampling: Resampling = "bilinear"
    pixels: bool = True
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, *spatial) -> (C, *size)."""
        if image.shape[1:] == self.size and image.dtype == self.dtype(image.dtype):
            return image
        if self.resampling == "nearest":
            return _nearest(image, self.size)
        if image.ndim == 3 and image.dtype == self.dtype(image.dtype) == np.uint8:
            return _resized(image, self.size)
        mixed = _linear(image, self.size)
        return mixed.round().astype(np.uint8) if self.dtype(image.dtype) == np.uint8 else mixed

    def shape(self, shape: Shape, /) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged for pixels and for the nearest values, float32 otherwise."""
        stays = self.resampling == "nearest" or (self.pixels and dtype == np.uint8)
        return dtype if stays else np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """Crops samples to (*spatial) around their center; smaller samples are padded, with zeros unless `fill` differs."""

    size: Shape
    fill: float = 0
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, *spatial) -> (C, *size)."""
        windows = [crop_window(old, new) for old, new in zip(image.shape[1:], self.size, strict=True)]
        cut = image[:, *(window.source for window in windows)]
        if cut.shape[1:] == self.size:
            return np.ascontiguousarray(cut)
        whole = np.full((len(image), *self.size), self.fill, image.dtype)
        whole[:, *(window.destination for window in windows)] = cut
        return whole

    def shape(self, shape: Shape, /) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged."""
        return dtype


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """Resizes samples as far as they fit into (*spatial), with their proportions, and fills the rest on both sides.

    What fills it is the gray of 114 for pixels, and 0 for masks and other numbers.
    """

    size: Shape
    resampling: Resampling = "bilinear"
    pixels: bool = True
    dimensions: ClassVar[tuple[int, ...]] = ANY_DIMENSION

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, *spatial) -> (C, *size)."""
        resize = Resize(fit_size(image.shape[1:], self.size), self.resampling, self.pixels)
        fitted = resize(image)
        gray = self.pixels and self.resampling != "nearest"
        return CenterCrop(self.size, fill_of(fitted.dtype == np.uint8) if gray else 0)(fitted)

    def shape(self, shape: Shape, /) -> Shape:
        """(C, *size)."""
        return resize_shape(shape, self.size)

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged for pixels and for the nearest values, float32 otherwise."""
        return Resize(self.size, self.resampling, self.pixels).dtype(dtype)


@dataclasses.dataclass(frozen=True)
class Rotate:
    """Rotates images clockwise about their center and keeps their size; corners left empty are black."""

    degrees: float
    resampling: Resampling = "bilinear"
    dimensions: ClassVar[tuple[int, ...]] = IMAGES

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W), of the same shape."""
        # Pillow rotates counterclockwise.
        return _each_channel(image, lambda channel: channel.rotate(-self.degrees, _PILLOW[self.resampling]))

    def shape(self, shape: Shape, /) -> Shape:
        """(C, H, W), unchanged."""
        return shape

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged."""
        return dtype


@dataclasses.dataclass(frozen=True)
class ConvertColor:
    """Converts the colours of images by an OpenCV code, such as `BGR2HSV`."""

    code: str
    dimensions: ClassVar[tuple[int, ...]] = IMAGES

    def __call__(self, image: np.ndarray, /) -> np.ndarray:
        """(C, H, W) -> (1 or 3, H, W)."""
        if image.dtype == np.uint8:
            return colors.convert(self.code, image.astype(np.float32), np).astype(np.uint8)
        return colors.convert(self.code, image.astype(np.float32) * 255, np).astype(np.float32) / 255

    def shape(self, shape: Shape, /) -> Shape:
        """(1 or 3, H, W)."""
        return colors.convert_shape(self.code, shape)

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """Unchanged for bytes, float32 otherwise."""
        return dtype if dtype == np.uint8 else np.dtype(np.float32)


class VaryingOperation(Protocol):
    """An operation that can give a sample other values in each epoch."""

    @property
    def random(self) -> bool:
        """Whether it does."""
        ...

    def __call__(self, image: np.ndarray, draws: Draws | None = None, /) -> np.ndarray:
        """The resulting sample (C, *spatial), by its random numbers, or as in evaluation without any."""
        ...

    def shape(self, shape: Shape, /) -> Shape:
        """The output shape (C, *spatial). Raises ConfigError if samples of `shape` are not supported."""
        ...

    def dtype(self, dtype: np.dtype, /) -> np.dtype:
        """The output type."""
        ...


@dataclasses.dataclass(frozen=True)
class ImageOperations:
    """A sequence of operations.

    Attributes:
        steps: the operations, each with its place in the configuration for error messages.
        varying: what follows them, with other results in each epoch; None for nothing.
    """

    steps: tuple[tuple[str, ImageOperation], ...] = ()
    varying: VaryingOperation | None = None

    @property
    def fix_size(self) -> bool:
        """Whether samples of all sizes come out with one size."""
        return self.varying is not None or any(
            isinstance(step, Resize | CenterCrop | Letterbox) for _, step in self.steps
        )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The sample (C, *spatial) after all operations that are the same in each epoch."""
        for _, operation in self.steps:
            image = operation(image)
        return image

    def shape(self, shape: Shape) -> Shape:
        """The output shape (C, *spatial).

        Raises:
            ConfigError: an operation does not support the samples that reach it.
        """
        for where, operation in self.steps:
            shape = change_shape(where, operation, shape)
        return shape if self.varying is None else self.varying.shape(shape)

    def dtype(self, dtype: np.dtype) -> np.dtype:
        """The output type for samples of type `dtype`."""
        for _, operation in self.steps:
            dtype = operation.dtype(dtype)
        return dtype if self.varying is None else self.varying.dtype(dtype)


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the values of one axis come from, and where they go."""

    source: slice
    destination: slice


def crop_window(old: int, new: int) -> Window:
    """The middle `new` of `old` values; if there are fewer, all of them, in the middle of the output."""
    if new <= old:
        first = round((old - new) / 2)
        return Window(slice(first, first + new), slice(0, new))
    first = (new - old) // 2
    return Window(slice(0, old), slice(first, first + old))


def fit_size(old: Sequence[int], new: Sequence[int]) -> Shape:
    """The largest size with the proportions of `old` that fits into `new`; halves of a pixel are rounded up."""
    scale = min(there / here for here, there in zip(old, new, strict=True))
    return tuple(max(math.floor(length * scale + 0.5), 1) for length in old)


def fill_of(is_bytes: bool) -> float:
    """The gray around pixels that are bytes, or else fractions of white."""
    return GRAY if is_bytes else GRAY / 255


class Shaped(Protocol):
    """Anything that declares which samples it supports, and its output shape; see `ImageOperation`."""

    dimensions: ClassVar[tuple[int, ...]]

    def shape(self, shape: Shape, /) -> Shape:
        """The output shape."""
        ...


def change_shape(where: str, change: Shaped, shape: Shape) -> Shape:
    """The output shape (C, *spatial) for samples of `shape`.

    Raises:
        ConfigError: `change`, at the place `where`, does not support them.
    """
    with locating(where):
        num_axes = len(shape) - 1
        if num_axes not in change.dimensions:
            here = f"samples have {num_axes or 'no'} spatial {'axis' if num_axes == 1 else 'axes'} here"
            if change.dimensions == IMAGES:
                turn = "" if num_axes == 1 else "random_rotate_90, "
                expected = f"Expected a flip, {turn}a crop, resize or normalize"
                raise ConfigError(Problem("", f"works on images only, but {here}. {expected}"))
            most, last = change.dimensions[:-1], change.dimensions[-1]
            numbers = f"{', '.join(map(str, most))} or {last}" if most else last
            raise ConfigError(Problem("", f"needs {numbers} spatial axes, but {here}"))
        return change.shape(shape)


def resize_shape(shape: Shape, size: Shape) -> Shape:
    """(C, *size). Raises ConfigError unless `size` has one number for each spatial axis of `shape`."""
    count = len(shape) - 1
    if len(size) != count:
        expected = f"{count} number{'' if count == 1 else 's'}, [{', '.join(_AXES[-count:])}]"
        raise ConfigError(Problem("", f"expected {expected}, got {list(size)}"))
    return (shape[0], *size)


@contextlib.contextmanager
def locating(where: str) -> Iterator[None]:
    """Attach the place `where` in the configuration to mistakes found in the block."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(*(Problem(where, p.message) for p in error.problems)) from None


def _each_channel(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Apply Pillow's `change` to each channel; faster than to the whole image, which Pillow needs channels last."""
    return np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(channel)))) for channel in image])


def _resized(image: np.ndarray, size: Shape) -> np.ndarray:
    """(C, *size) uint8, bilinear with antialiasing."""
    # Torch takes a fifth of Pillow's time but seconds to import, so only tasks that resize import it.
    import torch
    from torch.nn import functional

    given = torch.from_numpy(image if image.flags.writeable else image.copy())
    return functional.interpolate(given[None], size, mode="bilinear", antialias=True)[0].numpy()


def _nearest(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, *size), of the nearest values."""
    for axis, new in enumerate(size, 1):
        old = array.shape[axis]
        if old != new:
            array = array.take((2 * np.arange(new) + 1) * old // (2 * new), axis)
    return array


def _linear(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, *size) float32: axis by axis, means of neighbours with triangular weights."""
    array = array.astype(np.float32)
    for axis, new in enumerate(size, 1):
        old = array.shape[axis]
        if old != new:
            values = _weighted(np.moveaxis(array, axis, -1), old / new, new)
            array = np.moveaxis(values, -1, axis)
    return np.ascontiguousarray(array)


def _weighted(values: np.ndarray, step: float, new: int) -> np.ndarray:
    """(..., old) -> (..., new), each the weighted mean of values within one step of its place, or within one value."""
    old = values.shape[-1]
    reach = max(step, 1.0)
    centers = ((np.arange(new) + 0.5) * step)[:, None]
    is_table = old * new <= LARGEST_TABLE
    if is_table:
        places = np.arange(old)[None]
    else:
        places = np.floor(centers - reach + 0.5).astype(int) + np.arange(math.ceil(2 * reach) + 1)
    weights = np.clip(1 - np.abs(places + 0.5 - centers) / reach, 0, None) * ((places >= 0) & (places < old))
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    if is_table:
        return values @ weights.T
    return np.einsum("...nk,nk->...n", values[..., places.clip(0, old - 1)], weights)
