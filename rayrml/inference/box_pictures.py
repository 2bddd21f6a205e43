"""Pictures of images with the boxes of what was found in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from rayrml.errors import printable
from rayrml.inference.palette import colors_of
from rayrml.inference.picture_fonts import Font, find_font, find_usual_font

if TYPE_CHECKING:
    from rayrml.data.box_labels import BoxTable

_SHORTEST, _LONGEST = 400, 1600  # longer side of a picture in pixels
_BLACK, _GRAY, _WHITE = (0, 0, 0), (150, 150, 150), (255, 255, 255)
_LINES_PER_PICTURE, _TEXTS_PER_PICTURE = 300, 45  # longer side / width of a line, height of a text
_TRUE_LINES_PER_PICTURE = 800  # the same for lines of true boxes
_TEXTS_PER_SHORT_SIDE = 12  # shorter side / height of a text
_THINNEST, _SMALLEST = 2, 11
_LONGEST_NAME, _LONGEST_TEXT = 30, 0.6  # characters, and share of the width of a picture
_BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green and blue. Source: ITU-R BT.601
_DARK = 140

Place = tuple[int, int, int, int]  # the first and last columns and rows of a box: left, top, right, bottom


class Label(NamedTuple):
    """What is written at a box, and the color of the bar behind it."""

    text: str
    font: Font
    color: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class BoxDrawing:
    """How detections become pictures: on the images that they were found in.

    Attributes:
        classes: class names in the order of their indices.
        score_threshold: of the detections that are drawn.
        kind: see the key `test_output_images`.
    """

    classes: tuple[str, ...]
    score_threshold: float
    kind: Literal["boxes"] = "boxes"

    def picture(
        self, image: np.ndarray, detections: np.ndarray, truths: BoxTable | None = None, *, length: int | None = None
    ) -> Image.Image:
        """An image (H, W, 3) uint8 with its detections (D, 6) and its true boxes; see `draw_boxes`."""
        shown = detections[detections[:, 4] >= self.score_threshold]
        if truths is None:
            return draw_boxes(image, shown, self.classes, length=length)
        return draw_boxes(image, shown, self.classes, truths.corners, ignored=truths.ignored, length=length)


def draw_boxes(
    image: np.ndarray,
    detections: np.ndarray,
    classes: Sequence[str],
    truths: np.ndarray | None = None,
    *,
    ignored: np.ndarray | None = None,
    scores: bool = True,
    length: int | None = None,
) -> Image.Image:
    """An image with its detections in their classes' colors, and its true boxes as thin white lines on black ones.

    By default it has at most 1600 pixels, and small images are enlarged by a whole number, so that names can be read.

    Args:
        image: (H, W, 3) uint8.
        detections: (D, 6) xmin, ymin, xmax, ymax, score, class index, the best first, which is drawn on top.
        classes: the name of each class.
        truths: (M, 4) corners of true boxes, None if they are unknown.
        ignored: (M,) bool, which true boxes need not be found: they are gray instead of white. None for none of them.
        scores: whether the scores are written, and not the names alone.
        length: pixels of the longer side.
    """
    shown = _resize(Image.fromarray(image), length)
    scale = np.array([shown.width / image.shape[1], shown.height / image.shape[0]] * 2)
    draw = ImageDraw.Draw(shown)
    width = max(max(shown.size) // _LINES_PER_PICTURE, _THINNEST)
    ordered = detections[::-1]
    places = _round(ordered[:, :4] * scale, shown.size)
    colors = [(red, green, blue) for red, green, blue in colors_of(ordered[:, 5].astype(int) + 1).tolist()]
    for place, color in zip(places, colors, strict=True):
        draw.rectangle(place, outline=color, width=width)
    if truths is not None:
        _draw_truths(draw, _round(truths * scale, shown.size), [False] * len(truths) if ignored is None else ignored)
    height = max(min(max(shown.size) // _TEXTS_PER_PICTURE, min(shown.size) // _TEXTS_PER_SHORT_SIDE), _SMALLEST)
    labels: list[Label] = []
    for color, row in zip(colors, ordered, strict=True):
        name, font = _find_name(int(row[5]), classes, height)
        text = _join(name, f"{row[4]:.2f}" if scores else "", font, round(_LONGEST_TEXT * shown.width))
        labels.append(Label(text, font, color))
    _write_all(draw, labels[::-1], places[::-1])
    return shown


def _resize(image: Image.Image, length: int | None) -> Image.Image:
    """The image with this length, by default with one at which its boxes and their names can be seen."""
    longest = max(image.size)
    if length is None:
        length = _LONGEST if longest > _LONGEST else longest * -(-_SHORTEST // longest)
    if length < longest:
        image.thumbnail((length, length), Image.Resampling.BOX, reducing_gap=2.0)
        return image
    width, height = (max(round(side * length / longest), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


def _round(corners: np.ndarray, size: tuple[int, int]) -> list[Place]:
    """The first and last pixels of boxes (N, 4) that are in a picture of this size (width, height) or at its edge."""
    last = np.array(size) - 1
    first = np.clip(np.nan_to_num(corners[:, :2]).round(), 0, last).astype(int)
    end = np.clip(np.nan_to_num(corners[:, 2:]).round() - 1, first, last).astype(int)
    return [(left, top, right, bottom) for left, top, right, bottom in np.concatenate([first, end], 1).tolist()]


def _draw_truths(draw: ImageDraw.ImageDraw, places: Sequence[Place], ignored: Sequence[bool] | np.ndarray) -> None:
    """Draw boxes as thin lines with a black edge on both sides, so that they are seen on any image."""
    width = max(max(draw.im.size) // _TRUE_LINES_PER_PICTURE, 1)
    for (left, top, right, bottom), passed in zip(places, ignored, strict=True):
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_BLACK, width=width + 2)
        draw.rectangle((left, top, right, bottom), outline=_GRAY if passed else _WHITE, width=width)


def _find_name(number: int, classes: Sequence[str], height: int) -> tuple[str, Font]:
    """What a class is called in a text of this height, and the font: its number if no font has all of its name."""
    name = printable(classes[number]) if number < len(classes) else str(number)
    if (font := find_font(name, height)) is None:
        return f"class {number}", find_usual_font(height)
    return name if len(name) <= _LONGEST_NAME else _cut(name, _LONGEST_NAME), font


def _join(name: str, score: str, font: Font, width: int) -> str:
    """A name and a score in at most so many pixels; the name is cut if they need more."""
    while len(name) > 1 and font.getlength(f"{name} {score}") > width:
        name = _cut(name, len(name) - 1)
    return f"{name} {score}".strip()


def _cut(name: str, length: int) -> str:
    """The name in so many characters, or fewer."""
    return f"{name.removesuffix('…')[: length - 1].rstrip()}…" if length > 1 else name[:1]


def _write_all(draw: ImageDraw.ImageDraw, labels: Sequence[Label], places: Sequence[Place]) -> None:
    """Write a text in a bar at each of the boxes, the first ones on top, and not over one another if there is room."""
    taken: list[Place] = []
    bars: list[tuple[Place, bool]] = []
    for label, place in zip(labels, places, strict=True):
        left, top, right, bottom = label.font.getbbox(label.text)
        bars.append(_place_bar((int(right - left) + 4, int(bottom - top) + 4), place, draw.im.size, taken))
        taken.append(bars[-1][0])
    # From the last to the first, those that hide others first of all.
    for number in sorted(range(len(bars)), key=lambda number: (bars[number][1], -number)):
        (x, y, *_), label = bars[number][0], labels[number]
        left, top, *_ = label.font.getbbox(label.text)
        draw.rectangle(bars[number][0], fill=label.color)
        is_dark = np.dot(_BRIGHTNESS, label.color) < _DARK
        draw.text((x + 2 - left, y + 2 - top), label.text, fill=_WHITE if is_dark else _BLACK, font=label.font)


def _place_bar(
    size: tuple[int, int], place: Place, picture: tuple[int, int], taken: Sequence[Place]
) -> tuple[Place, bool]:
    """Where a bar of this width and height is put at a box, and whether it hides none of those that are there.

    It is above the box; where there is no room for it, in the box, or below one that is low.
    """
    width, height = size
    left, top, _, bottom = place
    inside, below = [top, top + height], [bottom + 1]
    is_low = bottom - top < 2 * height
    wanted = [top - height, *(below + inside if is_low else inside + below), top - 2 * height, bottom + 1 + height]
    x = max(min(left, picture[0] - width), 0)
    possible = [(x, y, x + width - 1, y + height - 1) for y in wanted if 0 <= y <= picture[1] - height]
    for bar in possible:
        if not any(_overlap(bar, other) for other in taken):
            return bar, True
    return next(iter(possible), (x, top, x + width - 1, top + height - 1)), False


def _overlap(one: Place, other: Place) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
