"""The annotations of COCO's file as columns: a million of them, without a Python object for each.

What is unusual in a file is not read here, but as a whole, which can say what is wrong and where.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import Field, StrictFloat, StrictInt, TypeAdapter
from pydantic_core import from_json
from typing_extensions import TypedDict

MOST_PIXELS = 2**31
_OF_BOX = 4


@dataclasses.dataclass(frozen=True)
class Columns:
    """The objects of a file, in its order.

    Attributes:
        image_ids: (M,) int64.
        category_ids: (M,) int64.
        boxes: (M, 4) float64, x, y, width and height; finite, and sizes are at least 0.
        crowds: (M,) bool.
        ids: (M,) int64, their own ids; None if they have none.
    """

    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    crowds: np.ndarray
    ids: np.ndarray | None

    def __len__(self) -> int:
        return len(self.image_ids)


def read_columns(content: bytes) -> tuple[dict[str, Any], Columns] | None:
    """What a file holds beside its annotations, and these; None if anything in it is unusual or wrong.

    A list of objects is cut between some of them. If each piece is a list of objects, and the file with another list in
    its place is valid, then so is the whole file.
    """
    start = _START.search(content)
    end = _END.search(content, start.end()) if start else None
    if start is None or end is None:
        return None
    stop = end.start() + 1
    try:
        value = from_json(content[: start.end()] + _MARK + content[stop:])
        if not isinstance(value, dict) or value.get("annotations") != from_json(b"[" + _MARK + b"]"):
            return None  # another list of this name
        parts = [_as_columns(_ANNOTATIONS.validate_json(piece)) for piece in _pieces(content, start.end(), stop)]
        columns = Columns(*map(_join, zip(*map(_fields, parts), strict=True)))
    except (ValueError, TypeError, OverflowError):
        return None
    boxes = columns.boxes
    if not ((np.abs(boxes) < MOST_PIXELS).all() and (boxes[:, 2:] >= 0).all()):
        return None
    return value, columns


def look_up(numbers: Mapping[Any, int], ids: np.ndarray) -> np.ndarray:
    """(M,) int64, the number of each id, -1 for others; keys that are no integers do not count."""
    known = {key: number for key, number in numbers.items() if isinstance(key, int) and abs(key) < 2**63}
    if not known:
        return np.full(len(ids), -1)
    keys, values = (np.fromiter(each, np.int64, len(known)) for each in (known.keys(), known.values()))
    order = np.argsort(keys)
    keys, values = keys[order], values[order]
    places = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
    return np.where(keys[places] == ids, values[places], -1)


def _pieces(content: bytes, start: int, stop: int) -> Iterator[bytes]:
    """The objects from `start` to `stop` as lists of some of them."""
    view = memoryview(content)
    while start < stop:
        cut = _CUT.search(content, start + _PIECE, stop)
        end = stop if cut is None else cut.start() + 1
        yield b"".join((b"[", view[start:end], b"]"))
        start = stop if cut is None else cut.end() - 1


def _as_columns(annotations: list[_Annotation]) -> Columns:
    """Raises TypeError or OverflowError for other numbers than usual."""
    count = len(annotations)
    crowds = [each.get("iscrowd") or 0 for each in annotations]
    if not set(crowds) <= {0, 1}:
        raise TypeError
    own = [each.get("id") for each in annotations]
    boxes = chain.from_iterable(each["bbox"] for each in annotations)
    return Columns(
        np.fromiter((each["image_id"] for each in annotations), np.int64, count),
        np.fromiter((each["category_id"] for each in annotations), np.int64, count),
        np.fromiter(boxes, float, _OF_BOX * count).reshape(-1, _OF_BOX),
        np.array(crowds, bool),
        None if own == [None] * count else np.fromiter(own, np.int64, count),  # pyright: ignore[reportArgumentType]
    )


def _fields(columns: Columns) -> tuple[np.ndarray | None, ...]:
    return tuple(getattr(columns, field.name) for field in dataclasses.fields(columns))


def _join(parts: tuple[np.ndarray | None, ...]) -> Any:
    """One column of its parts. Raises ValueError if some are missing."""
    return None if all(part is None for part in parts) else np.concatenate(parts)  # pyright: ignore


class _Annotation(TypedDict):
    image_id: StrictInt
    category_id: StrictInt
    bbox: Annotated[list[StrictFloat], Field(min_length=_OF_BOX, max_length=_OF_BOX)]
    iscrowd: NotRequired[StrictInt | None]
    id: NotRequired[StrictInt | None]


_ANNOTATIONS = TypeAdapter(list[_Annotation])
_BLANKS = rb"[ \t\r\n]*"
_START = re.compile(rb'(?<!\\)"annotations"' + _BLANKS + b":" + _BLANKS + rb"\[")
_END = re.compile(rb"\}" + _BLANKS + rb"\]" + _BLANKS + rb"[,}]")
_CUT = re.compile(rb"\}" + _BLANKS + b"," + _BLANKS + rb"\{")
_MARK = b'"these are read by themselves"'
_PIECE = 2**18  # bytes, so that what is read stays in the cache of a CPU
