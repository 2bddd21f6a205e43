"""Boxes in pixels of upright images: what labels say, put together with the sizes of the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayrml.data.box_labels.cleaning import clean, turn_boxes
from rayrml.data.box_labels.labels import Labels
from rayrml.data.box_labels.mistakes import explain_bad
from rayrml.data.box_labels.table import BoxTable, Rows, cumulate
from rayrml.data.discovery import quote_some
from rayrml.data.readers.image_sizes import QUARTER_TURNS, read_sizes
from rayrml.errors import DataError


@dataclasses.dataclass(frozen=True)
class LabelledBoxes:
    """The true boxes of N images.

    Attributes:
        table: the boxes; images that are bad have none.
        classes: the classes in the order of the outputs.
        bad: what is wrong with some images or their labels, by image.
        counts: how many boxes there are (`boxes`), how many of them are `ignored` or were `cut` at the edges; how many
            were `duplicates` or `empty` and are left out; how many images have none (`without_boxes`), and how many
            were `turned` together with their boxes.
        notes: what the log says of them.
        image_ids: COCO's id of each image; () in other formats.
        category_ids: COCO's id of each class, other numbers for those that it does not have; () in other formats.
    """

    table: BoxTable
    classes: tuple[str, ...]
    bad: Mapping[int, str]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    image_ids: tuple[Any, ...] = ()
    category_ids: tuple[Any, ...] = ()

    def refuse_bad(self) -> None:
        """Raise DataError, with the first ones, if some images or their labels are bad."""
        if self.bad:
            raise DataError(*explain_bad([self.bad[image] for image in sorted(self.bad)]))


def make_boxes(labels: Labels, classes: Sequence[str] | None = None) -> LabelledBoxes:
    """The boxes of images, whose headers are read.

    Args:
        labels: the labels of the images.
        classes: the classes in the order of the outputs, such as training's for the test; None for those of the labels.
    """
    known = labels.classes if classes is None else tuple(classes)
    measured, unreadable = _measure(labels)
    turned, differing = _compare_sizes(labels, measured)
    codes, unknown = _number_classes(labels, known)
    bad = unknown | differing | unreadable | dict(labels.bad)
    rows = dataclasses.replace(labels.rows, codes=codes)
    rows = rows.keep(~np.isin(rows.images, list(bad)))
    rows = dataclasses.replace(rows, corners=_to_pixels(labels, rows, measured, turned))
    rows, counts = clean(rows, measured[:, :2])
    good = np.ones(len(labels), bool)
    good[list(bad)] = False
    own = np.bincount(rows.images, minlength=len(labels)).astype(np.int64)
    counts |= {
        "boxes": len(rows),
        "ignored": int(rows.ignored.sum()),
        "without_boxes": int((good & (own == 0)).sum()),
        "turned": int((good & turned).sum()),
    }
    table = BoxTable(
        corners=rows.corners,
        classes=rows.codes.astype(np.int32),
        ignored=rows.ignored,
        starts=cumulate(own),
        sizes=measured[:, :2].astype(np.int32),
    )
    unclear = _count_unclear(labels, measured, good) if counts["turned"] else 0
    notes = tuple(_describe(counts, len(labels) - len(bad), unclear))
    return LabelledBoxes(table, known, bad, counts, notes, labels.image_ids, labels.category_ids_of(known))


def _measure(labels: Labels) -> tuple[np.ndarray, dict[int, str]]:
    """(N, 3) int64, upright height and width, and orientation; zeros for images that cannot be read, with reasons."""
    sizes = read_sizes([labels.samples.path(image) for image in range(len(labels))])
    unreadable = {image: size for image, size in enumerate(sizes) if isinstance(size, str)}
    measured = [(0, 0, 1) if isinstance(size, str) else tuple(size) for size in sizes]
    return np.array(measured, np.int64).reshape(-1, 3), unreadable


def _compare_sizes(labels: Labels, measured: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """(N,) bool, which labels are of images as they are stored, a quarter turned; and those of other sizes."""
    told, upright = labels.told_sizes, measured[:, :2]
    compared = (told > 0).all(axis=1) & (upright > 0).all(axis=1)
    equal = (told == upright).all(axis=1)
    stored = (told == upright[:, ::-1]).all(axis=1) & np.isin(measured[:, 2], QUARTER_TURNS)
    differing: dict[int, str] = {}
    for image in np.flatnonzero(compared & ~equal & ~stored).tolist():
        (height, width), (own_height, own_width) = told[image].tolist(), upright[image].tolist()
        message = f"the size is told as {width}x{height} pixels, but the image is {own_width}x{own_height}"
        expected = "Expected labels of the same image, not of a resized one"
        differing[image] = labels.place_of_image(image, f"{message}. {expected}")
    return compared & ~equal & stored, differing


def _count_unclear(labels: Labels, measured: np.ndarray, good: np.ndarray) -> int:
    """How many images Exif turns, but whose sizes do not tell whether the labels are of the stored image, too."""
    same = (labels.told_sizes == measured[:, :2]).all(axis=1) & (measured[:, 2] != 1)
    square = measured[:, 0] == measured[:, 1]
    return int((good & same & (square | ~np.isin(measured[:, 2], QUARTER_TURNS))).sum())


def _number_classes(labels: Labels, known: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """(M,) int64, the index of each row's class among those known, -1 for unknown ones; and the images of these."""
    index = {name: number for number, name in enumerate(known)}
    by_number = not labels.are_named or (index.keys().isdisjoint(labels.names) and _are_numbers(known))
    own = range(len(known)) if by_number else [index.get(name, -1) for name in labels.names]
    table = np.array(own, np.int64)
    codes = labels.rows.codes
    inside = codes < len(table)
    numbers = np.where(inside, table[np.where(inside, codes, 0)] if len(table) else -1, -1)
    bad: dict[int, str] = {}
    for row in np.flatnonzero(numbers < 0).tolist():
        image = int(labels.rows.images[row])
        if image not in bad:
            bad[image] = labels.place_of_row(row, _explain_class(labels, int(codes[row]), known))
    return numbers, bad


def _explain_class(labels: Labels, code: int, known: Sequence[str]) -> str:
    if not labels.are_named or code >= len(labels.names):
        count = len(known) if not labels.are_named else len(labels.names)
        numbers = f"0 to {count - 1}, as there are {count} classes" if count > 1 else "0, as there is 1 class"
        return f"class {code} is unknown. Expected {numbers}"
    return f"class '{labels.names[code]}' is unknown. Expected one of {quote_some(known)}"


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether classes had no names in training."""
    return list(names) == [str(number) for number in range(len(names))]


def _to_pixels(labels: Labels, rows: Rows, measured: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """(M, 4) the corners in pixels of the upright images."""
    sizes = measured[rows.images]
    if labels.files.format == "yolo":
        return rows.corners * sizes[:, [1, 0, 1, 0]]
    orientations = np.where(turned[rows.images], sizes[:, 2], 1)
    return turn_boxes(rows.corners, sizes[:, [1, 0]], orientations)  # only quarters, whose stored size is the other one


def _describe(counts: Mapping[str, int], num_images: int, unclear: int) -> list[str]:
    """What the log says, for the counts that are not 0."""

    def some(key: str, noun: str = "box") -> str:
        return f"1 {noun}" if counts[key] == 1 else f"{counts[key]} {noun}{'es' if noun == 'box' else 's'}"

    ignored = f", of which {counts['ignored']} are ignored (crowd or difficult)" if counts["ignored"] else ""
    images = "1 image" if num_images == 1 else f"{num_images} images"
    notes = [f"{some('boxes')} in {images}, {counts['without_boxes']} of them without boxes{ignored}"]
    if counts["duplicates"]:
        notes.append(f"{some('duplicates')} given twice in an image, with the same class and numbers: counted once")
    if counts["empty"]:
        notes.append(f"{some('empty')} without width or height inside the image: left out")
    if counts["cut"]:
        many = 2 * counts["cut"] > counts["boxes"]
        hint = ". That is more than half of them: is the format right?" if many and counts["cut"] >= _SEVERAL else ""
        notes.append(f"{some('cut')} cut at the edges of the image{hint}")
    if counts["turned"]:
        whose = f"Labels of {some('turned', 'image')} are of the pixels as stored"
        notes.append(f"{whose}: boxes turned with the image (Exif)")
    if unclear:
        whose = f"{unclear} more image{'s' if unclear > 1 else ''} turned by Exif, of sizes that do not tell"
        notes.append(f"{whose} whether labels are, too: labels taken as upright")
    return notes


_SEVERAL = 10
