"""Pixels of more than 8 bits: what stands for white in them, and which numbers the reader of images makes of them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from rayrml.config.sections import Scale

Colors = Literal["gray", "rgb", "bands"]

BYTE = 255
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow has it
_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The pixels of an image as they are stored.

    Attributes:
        values: (H, W, C).
        white: the value that stands for white; None if values are numbers of their own, of 32 bits or signed.
        colors: what the channels are.
    """

    values: np.ndarray
    white: int | None
    colors: Colors

    @classmethod
    def of_bytes(cls, image: np.ndarray) -> Pixels:
        """Pixels of 8 bits, (H, W) or (H, W, 3)."""
        image = image[:, :, None] if image.ndim == 2 else image
        return cls(image, BYTE, "gray" if image.shape[2] == 1 else "rgb")

    def upright(self, orientation: int) -> Pixels:
        """The same, turned as the EXIF tag says."""
        turn = _TURNS.get(orientation)
        return self if turn is None else dataclasses.replace(self, values=turn(self.values))

    def in_color(self, *, grayscale: bool, native: bool) -> Pixels:
        """With three channels, or one if `grayscale`; `native` leaves one channel as it is. More bands stay.

        Raises:
            ValueError: there are other bands than colors, of which no gray can be made.
        """
        values = self.values
        if self.colors == "bands":
            if grayscale and values.shape[2] > 1:
                raise ValueError(f'It has {values.shape[2]} bands, of which "grayscale" cannot make one')
        elif self.colors == "gray":
            values = values if grayscale or native else np.repeat(values, 3, axis=2)
        elif grayscale:
            values = (values.astype(np.float32) @ _LUMA)[:, :, None]
        return dataclasses.replace(self, values=values)

    def scaled(self, scale: Scale | None) -> np.ndarray:
        """(H, W, C): bytes if the file has 8 bits and no scale is given, otherwise float32.

        Raises:
            ValueError: the scale does not suit the values.
        """
        values, white = self.values, self.white
        if scale is None:
            if values.dtype == np.uint8:
                return values
            return values.astype(np.float32) if white is None else _divided(values, white)
        if scale == "values":
            if white is not None:
                kind = "8" if white == BYTE else "16"
                raise ValueError(f'It has {kind} bits per value, but "scale": "values" is for 32 bits. {_BY_NUMBER}')
            return values.astype(np.float32)
        _check_finite(values)
        if scale == "range":
            if white is None:
                raise ValueError(f'It has 32 bits per value, or a sign, so "scale": "range" is unknown. {_BY_NUMBER}')
            return _divided(values, white)
        if scale == "max":
            if values.min() < 0:
                raise ValueError(f'It holds {values.min():g}, but "scale": "max" is for values of at least 0')
            return _divided(values, values.max() or 1)
        if white == BYTE and scale > BYTE:
            raise ValueError(f'It has 8 bits per value, but "scale": {scale:g} is for more. Expected "range" or "max"')
        return _divided(values, scale)


def is_image(scale: Scale | None) -> bool:
    """Whether values become fractions of white, and not other numbers."""
    return scale not in ("values", 1)


def _divided(values: np.ndarray, by: float) -> np.ndarray:
    return np.divide(values, np.float32(by), dtype=np.float32, casting="unsafe")


def _check_finite(values: np.ndarray) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("It holds values that are not finite numbers")


_BY_NUMBER = 'Expected "max", or the number that stands for white'
