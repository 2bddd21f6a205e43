"""Pictures of images with the boxes of what was found in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rayrml.errors import printable
from rayrml.inference.palette import colors_of

_SHORTEST, _LONGEST = 400, 1600  # longer side of a picture in pixels
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_LINES_PER_PICTURE, _TEXTS_PER_PICTURE = 300, 45  # longer side / width of a line, height of a text
_THINNEST, _SMALLEST = 3, 11
_BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue. Source: ITU-R BT.601
_DARK = 140


def draw_boxes(
    image: np.ndarray, detections: np.ndarray, classes: Sequence[str], truths: np.ndarray | None = None
) -> Image.Image:
    """An image with its detections in their classes' colors, and its true boxes as thin white lines on black ones.

    It has at most 1600 pixels; small images are enlarged by a whole number, so that names can be read.

    Args:
        image: (H, W, 3) uint8.
        detections: (D, 6) xmin, ymin, xmax, ymax, score, class index, the best first, which is drawn on top.
        classes: the name of each class.
        truths: (M, 4) corners of true boxes, None if they are unknown.
    """
    shown = _resize(Image.fromarray(image))
    scale = np.array([shown.width / image.shape[1], shown.height / image.shape[0]] * 2)
    draw = ImageDraw.Draw(shown)
    width = max(max(shown.size) // _LINES_PER_PICTURE, _THINNEST)
    font = ImageFont.load_default(max(max(shown.size) // _TEXTS_PER_PICTURE, _SMALLEST))
    ordered = detections[::-1]
    places = _round(ordered[:, :4] * scale, shown.size)
    colors = [(red, green, blue) for red, green, blue in colors_of(ordered[:, 5].astype(int) + 1).tolist()]
    for place, color in zip(places, colors, strict=True):
        draw.rectangle(place, outline=color, width=width)
    for place in [] if truths is None else _round(truths * scale, shown.size):
        left, top, right, bottom = place
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_BLACK, width=3)
        draw.rectangle(place, outline=_WHITE)
    for place, color, row in zip(places, colors, ordered, strict=True):
        number = int(row[5])
        name = classes[number] if number < len(classes) else str(number)
        _write(draw, f"{printable(name)} {row[4]:.2f}", place, color=color, font=font)
    return shown


def _resize(image: Image.Image) -> Image.Image:
    """The image at a size at which its boxes and their names can be seen."""
    longest = max(image.size)
    if longest > _LONGEST:
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX, reducing_gap=2.0)
        return image
    factor = -(-_SHORTEST // longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _round(corners: np.ndarray, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The first and last pixels of boxes (N, 4) that are in a picture of this size (width, height) or at its edge."""
    last = np.array(size) - 1
    first = np.clip(np.nan_to_num(corners[:, :2]).round(), 0, last).astype(int)
    end = np.clip(np.nan_to_num(corners[:, 2:]).round() - 1, first, last).astype(int)
    return [(left, top, right, bottom) for left, top, right, bottom in np.concatenate([first, end], 1).tolist()]


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    place: tuple[int, int, int, int],
    *,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write a text in a bar above a box, or in it where there is no room above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = int(right - left) + 4, int(bottom - top) + 4
    picture_width, _ = draw.im.size
    x = max(min(place[0], picture_width - width), 0)
    y = place[1] - height if place[1] >= height else place[1]
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    is_dark = np.dot(_BRIGHTNESS, color) < _DARK
    draw.text((x + 2 - left, y + 2 - top), text, fill=_WHITE if is_dark else _BLACK, font=font)
