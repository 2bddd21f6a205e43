"""YOLO's label files: a line for each object, with its class number and shares of the image's size.

`class x_middle y_middle width height`, or `class x1 y1 x2 y2 x3 y3 ...` for the corners of a polygon.
Source: darknet's `read_boxes` in data.c; Ultralytics's formats of boxes and segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rayrml.data.box_labels.table import Rows, no_rows
from rayrml.data.box_labels.text_files import LabelMistake, decode, place
from rayrml.data.byte_order_marks import BYTE_ORDER_MARKS

Line = tuple[int, bool, list[float]]  # its number; whether it was a polygon; class, and four numbers


def parse(content: bytes, *, pose: int = 0) -> list[Line]:
    """The objects in a file: middle and size, or the outermost corners of a polygon.

    Args:
        content: the file.
        pose: how many numbers a line has that ends with keypoints, 0 if none does.

    Raises:
        LabelMistake: a line has another count of numbers, or something that is none.
    """
    if content.startswith(tuple(BYTE_ORDER_MARKS)):
        content = decode(content).encode()
    found: list[Line] = []
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if len(words) == pose > 0:
            raise LabelMistake(f"line {number}: has {pose} numbers, a box and keypoints. Expected 5, {_EXPECTED}")
        if words:
            found.append(_parse_line(number, words))
    return found


def join_rows(files: Iterable[tuple[int, list[Line]]], paths: Sequence[str]) -> tuple[Rows, dict[int, str]]:
    """The objects of all images, and what is wrong with the others.

    Args:
        files: image and content of each label file, in the order of the images.
        paths: path of each image's label file.
    """
    pairs = [(image, line) for image, lines in files for line in lines]
    if not pairs:
        return no_rows(), {}
    values = np.array([line[2] for _, line in pairs])
    images = np.array([image for image, _ in pairs], np.int64)
    numbers, polygons = (np.array([line[i] for _, line in pairs]) for i in (0, 1))
    wrong = _wrong(values, polygons)
    counts = np.bincount(images[wrong])
    bad: dict[int, str] = {}
    for row in np.flatnonzero(wrong).tolist():
        image = int(images[row])
        if image not in bad:
            more = int(counts[image]) - 1
            others = f" ({more} more line{'s' if more > 1 else ''} of this file likewise)" if more else ""
            reason = _explain(values[row].tolist(), polygon=bool(polygons[row]))
            bad[image] = place(paths[image], f"line {numbers[row]}: {reason}{others}")
    fine = ~np.isin(images, list(bad))
    boxes = values[:, 1:]
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = np.where(polygons[:, None], boxes, np.hstack([middle - half, middle + half]))[fine]
    ignored = np.zeros(len(corners), bool)
    return Rows(images[fine], corners, values[fine, 0].astype(np.int64), ignored, numbers[fine].astype(np.int64)), bad


def _parse_line(number: int, words: list[bytes]) -> Line:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise LabelMistake(f"line {number}: {_explain_words(words)}") from None
    if b"_" in b"".join(words):  # a number in Python alone
        raise LabelMistake(f"line {number}: {_explain_words(words)}")
    if len(values) == _OF_BOX:
        return number, False, values
    if len(values) >= _LEAST_OF_POLYGON and len(values) % 2:
        xs, ys = values[1::2], values[2::2]
        if all(map(math.isfinite, values)):
            return number, True, [values[0], min(xs), min(ys), max(xs), max(ys)]
        return number, True, [values[0], *[math.nan] * 4]
    raise LabelMistake(f"line {number}: {_explain_count(len(values))}")


def _wrong(values: np.ndarray, polygons: np.ndarray) -> np.ndarray:
    """(M,) bool, whether numbers are outside of what they may be."""
    classes, shares = values[:, 0], values[:, 1:]
    with np.errstate(invalid="ignore"):
        inside = ((shares >= _LEAST) & (shares <= _MOST)).all(axis=1)  # False for NaN
        whole = (classes >= 0) & (classes <= MOST_CLASSES) & (classes == np.floor(classes))
        ordered = polygons | (shares[:, 2:] >= 0).all(axis=1)
    return ~(inside & whole & ordered)


def _explain(values: list[float], *, polygon: bool) -> str:
    kind, shares = values[0], values[1:]
    if not all(map(math.isfinite, values)):
        return f"a number is not finite. Expected {_EXPECTED}"
    if kind < 0 or kind != math.floor(kind):
        return f"{kind:g} is not a class number. Expected 0, 1, 2, ... first: {_EXPECTED}"
    if kind > MOST_CLASSES:
        return f"{kind:.0f} is too large for a class number. Expected at most {MOST_CLASSES}"
    outside = next((value for value in shares if not _LEAST <= value <= _MOST), None)
    if outside is not None:
        what = "x and y of each corner" if polygon else "x_middle, y_middle, width and height"
        return f"{outside:g} is out of range. Expected {what} as shares of the size, between 0 and 1, not in pixels"
    return f"the width or height {min(shares[2:]):g} is negative. Expected {_EXPECTED}"


def _explain_words(words: list[bytes]) -> str:
    word = next(word for word in words if not _is_number(word))
    shown = word[:40].decode(errors="replace")
    if b"," in word:
        return f"'{shown}' has a comma. Expected numbers such as 0.5, with blanks between them: {_EXPECTED}"
    return f"'{shown}' is not a number. Expected {_EXPECTED}"


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def _explain_count(count: int) -> str:
    numbers = "1 number" if count == 1 else f"{count} numbers"
    score = ". The sixth may be a score: predictions are not labels" if count == _OF_BOX + 1 else ""
    return f"has {numbers}{score}. Expected 5, {_EXPECTED}, or 7, 9, ... of a polygon"


_OF_BOX, _LEAST_OF_POLYGON = 5, 7
_LEAST, _MOST = -0.01, 1.01  # shares, with room for rounding
MOST_CLASSES = 99_999
_EXPECTED = "`class x_middle y_middle width height`"
