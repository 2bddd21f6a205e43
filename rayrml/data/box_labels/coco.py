"""COCO's labels: one JSON file with the images, their objects, and the classes.

Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.data.box_labels.coco_columns import MOST_PIXELS, Columns, look_up, read_columns
from rayrml.data.box_labels.mistakes import explain_bad
from rayrml.data.box_labels.table import Rows, no_rows
from rayrml.data.box_labels.text_files import place, show
from rayrml.data.byte_order_marks import split_mark
from rayrml.data.discovery import quote_some
from rayrml.errors import DataError, Problem, describe

Key = int | str  # of an image or a category


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image as the file has it.

    Attributes:
        id: as it was written.
        file_name: with `/` between its parts.
        size: height and width, (0, 0) if they are not told.
    """

    id: Any
    file_name: str
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Document:
    """A file of labels.

    Attributes:
        path: of the file.
        entries: the images by their ids.
        annotations: the objects; not checked yet if they are a list.
        names: the classes in the order of the categories' ids.
        category_ids: of each class, as it was written.
    """

    path: str
    entries: Mapping[Key, Entry]
    annotations: list[Any] | Columns
    names: tuple[str, ...]
    category_ids: tuple[Any, ...]


def read(path: str) -> Document:
    """The labels in a file. Raises DataError if it is none of labels, or if images or categories are ambiguous."""
    content = _read_content(path)
    value, annotations = read_columns(content) or (None, None)
    if annotations is None:
        value = _parse_whole(path, content)
    del content  # hundreds of megabytes
    if isinstance(value, list):
        raise _error(path, f"holds a list, as files of predictions do. {_EXPECTED}")
    if not isinstance(value, dict):
        raise _error(path, f"holds no object. {_EXPECTED}")
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(value.get(key), list)]
    if missing:
        raise _error(path, f"has no list {quote_some(missing)}. {_EXPECTED}")
    if not value["images"]:
        raise _error(path, "names no images. Expected some in 'images'")
    names, ids = _read_categories(path, value["categories"])
    entries = _read_entries(path, value["images"])
    return Document(path, entries, value["annotations"] if annotations is None else annotations, names, ids)


def is_document(path: str) -> bool:
    """Whether a file may hold such labels, as its beginning and its end tell without reading all of it."""
    try:
        start = storage.read_start(path, _START_BYTES)
        if b'"images"' not in start and b'"annotations"' not in start and b'"categories"' not in start:
            return False
        return len(start) == _START_BYTES or {"images", "annotations"} <= set(json.loads(start))
    except (OSError, ValueError, RecursionError):
        return False


def join_rows(document: Document, images: Mapping[Key, int]) -> tuple[Rows, dict[int, str]]:
    """The objects of the images that are used, and what is wrong with those of others.

    Args:
        document: the file.
        images: the image of each id; others are not used.

    Raises:
        DataError: objects belong to images that the file does not name.
    """
    annotations = document.annotations
    if not annotations:
        return no_rows(), {}
    codes = {key: code for code, own in enumerate(document.category_ids) if (key := _key(own)) is not None}
    if isinstance(annotations, Columns):
        rows = _join_columns(document, annotations, (images, codes))
        if rows is not None:
            return rows, {}
        annotations = _parse_whole(document.path, _read_content(document.path))["annotations"]
    found: list[tuple[int, int, bool, int, list[float]]] = []
    bad: dict[int, str] = {}
    strays: list[str] = []
    for number, annotation in enumerate(annotations):
        key = _key(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if key is None or key not in document.entries:
            strays.append(_stray(document.path, number, annotation))
        elif (image := images.get(key)) is not None and image not in bad:
            try:
                found.append((image, number, *_parse(annotation, codes)))
            except ValueError as error:
                name = document.entries[key].file_name
                bad[image] = place(document.path, f"{_call(number, annotation)} of '{name}': {error}")
    if strays:
        raise DataError(*explain_bad(strays))
    return _as_rows([one for one in found if one[0] not in bad]), bad


def is_number(own: Any) -> bool:
    """Whether an id, as it was written, is a number."""
    return isinstance(_key(own), int)


def name_object(document: Document, number: int) -> str:
    """How messages call an annotation: by its id, else by its place in the list."""
    if isinstance(document.annotations, Columns):
        ids = document.annotations.ids
        return _call(number, {} if ids is None else {"id": int(ids[number])})
    return _call(number, document.annotations[number])


def _join_columns(
    document: Document, columns: Columns, numbers: tuple[Mapping[Key, int], Mapping[Key, int]]
) -> Rows | None:
    """The objects of the images that are used; None if some belong to no image or no category of the file.

    `numbers` are those of images and of categories, by their ids.
    """
    of_images, of_categories = numbers
    if (look_up(dict.fromkeys(document.entries, 0), columns.image_ids) < 0).any():
        return None
    images = look_up(of_images, columns.image_ids)
    used = np.flatnonzero(images >= 0)
    rows = used[np.argsort(images[used], kind="stable")]
    codes = look_up(of_categories, columns.category_ids[rows])
    if (codes < 0).any():
        return None
    corners = columns.boxes[rows]
    corners[:, 2:] += corners[:, :2]
    return Rows(images[rows], corners, codes, columns.crowds[rows], rows)


def _as_rows(found: list[tuple[int, int, bool, int, list[float]]]) -> Rows:
    if not found:
        return no_rows()
    images, numbers, ignored, codes, boxes = zip(*found, strict=True)
    order = np.argsort(images, kind="stable")
    corners = np.array(boxes, float)
    corners[:, 2:] += corners[:, :2]
    whole = (np.array(one, np.int64) for one in (images, codes, numbers))
    own_images, own_codes, objects = whole
    return Rows(own_images, corners, own_codes, np.array(ignored), objects).keep(order)


def _parse(annotation: dict[str, Any], codes: Mapping[Key, int]) -> tuple[bool, int, list[float]]:
    """Whether it is a crowd, the code of its class, and x, y, width and height. Raises ValueError."""
    category = annotation.get("category_id")
    code = codes.get(key) if (key := _key(category)) is not None else None
    if code is None:
        raise ValueError(f"category_id {_shown(category)} is none of the categories")
    crowd = annotation.get("iscrowd") or 0
    if not isinstance(crowd, (int, float, str)) or crowd not in _FLAGS:
        raise ValueError(f"iscrowd is {_shown(crowd)}. Expected 0 or 1")
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != _OF_BOX:
        if box is None and annotation.get("segmentation") is not None:
            raise ValueError("has no bbox, only a segmentation. Expected bbox: [x, y, width, height]")
        raise ValueError(f"bbox is {_shown(box)}. Expected [x, y, width, height]")
    numbers = [_number(value) for value in box]
    if not all(-MOST_PIXELS < value < MOST_PIXELS for value in numbers):
        raise ValueError(f"bbox is {_shown(box)}. Expected four numbers of pixels")
    if numbers[2] < 0 or numbers[3] < 0:
        raise ValueError(f"bbox is {_shown(box)}, with a negative width or height. Expected [x, y, width, height]")
    return _FLAGS[crowd], code, numbers


def _read_entries(path: str, images: Iterable[Any]) -> dict[Key, Entry]:
    entries: dict[Key, Entry] = {}
    wrong: list[str] = []
    for number, image in enumerate(images):
        try:
            key, entry = _read_entry(image)
            if key in entries and entries[key].file_name != entry.file_name:
                raise ValueError(f"the id {_shown(entry.id)} is also that of '{entries[key].file_name}'")
            entries[key] = entry
        except ValueError as error:
            wrong.append(f"image {number}: {error}")
    if wrong:
        raise DataError(*explain_bad(f"{show(path)}: {line}" for line in wrong))
    return entries


def _read_entry(image: Any) -> tuple[Key, Entry]:
    if not isinstance(image, dict):
        raise ValueError("is no object. Expected id, file_name, width and height")
    key, name = _key(image.get("id")), image.get("file_name")
    if key is None:
        raise ValueError(f"its id is {_shown(image.get('id'))}. Expected a number")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"its file_name is {_shown(name)}. Expected the name of a file")
    size = []
    for side in ("height", "width"):
        value = _number(image.get(side) or 0)
        if not 0 <= value < MOST_PIXELS or value != math.floor(value):
            raise ValueError(f"its {side} is {_shown(image[side])}. Expected a whole number of pixels")
        size.append(int(value))
    height, width = (0, 0) if 0 in size else size
    return key, Entry(image["id"], name.strip().replace("\\", "/"), (height, width))


def _read_categories(path: str, categories: Iterable[Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The names and ids in the order of the ids."""
    found: dict[Key, tuple[str, Any]] = {}
    wrong: list[str] = []
    for number, category in enumerate(categories):
        try:
            key, name, own = _read_category(category)
            if found.setdefault(key, (name, own))[0] != name:
                raise ValueError(f"the id {_shown(own)} is also that of '{found[key][0]}'")
        except ValueError as error:
            wrong.append(f"category {number}: {error}")
    by_name: dict[str, Any] = {}
    for name, own in found.values():
        if name in by_name:
            wrong.append(f"categories {_shown(by_name[name])} and {_shown(own)} are both named '{name}'")
        by_name[name] = own
    if len({type(key) for key in found}) > 1:
        wrong.append("some ids of categories are numbers, others text. Expected numbers")
    if wrong:
        raise DataError(*explain_bad(f"{show(path)}: {line}" for line in wrong))
    if not found:
        raise _error(path, "names no classes. Expected some in 'categories'")
    ordered = [found[key] for key in sorted(found)]  # pyright: ignore[reportArgumentType] (of one type)
    return tuple(name for name, _ in ordered), tuple(own for _, own in ordered)


def _read_category(category: Any) -> tuple[Key, str, Any]:
    if not isinstance(category, dict):
        raise ValueError("is no object. Expected id and name")
    key, name = _key(category.get("id")), category.get("name")
    if key is None:
        raise ValueError(f"its id is {_shown(category.get('id'))}. Expected a number")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"its name is {_shown(name)}. Expected text")
    return key, name.strip(), category["id"]


def _read_content(path: str) -> bytes:
    try:
        content = storage.read(path)
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be read. {describe(error)}") from None
    if content.startswith(b"version https://git-lfs"):
        raise _error(path, "is a pointer of Git LFS, not the labels. Fetch them with `git lfs pull`")
    return content


def _parse_whole(path: str, content: bytes) -> Any:
    try:
        encoding, content = split_mark(content)
        text = content.decode(encoding or "utf-8")
        del content
        return json.loads(text, object_hook=_drop_outlines)
    except json.JSONDecodeError as error:
        raise DataError(Problem(f"{show(path)}, line {error.lineno}", f"is not valid JSON. {error.msg}")) from None
    except UnicodeDecodeError as error:
        raise _error(path, f"is not UTF-8 text (byte {error.start}). Save the file as UTF-8") from None
    except RecursionError:
        raise _error(path, f"is nested too deeply. {_EXPECTED}") from None
    except ValueError as error:
        raise _error(path, f"cannot be read. {describe(error)}") from None


def _drop_outlines(value: dict[str, Any]) -> dict[str, Any]:
    """An object without its polygons, which are most of a file and take ten times their size in memory."""
    if value.get("segmentation") is not None:
        value["segmentation"] = True
    return value


def _key(value: Any) -> Key | None:
    """An id for comparison: the text of a number is the number."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value:
        return int(value) if len(value) < 19 and value.isdecimal() and str(int(value)) == value else value
    return None


def _number(value: Any) -> float:
    """A number, also as text; NaN for anything else."""
    if type(value) is float:
        return value
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            return math.nan
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _stray(path: str, number: int, annotation: Any) -> str:
    if not isinstance(annotation, dict):
        return place(path, f"annotation {number}: is no object. Expected image_id, category_id and bbox")
    image = _shown(annotation.get("image_id"))
    return place(path, f"{_call(number, annotation)}: image_id {image} is none of the images")


def _call(number: int, annotation: Any) -> str:
    own = _key(annotation.get("id"))
    return f"annotation number {number + 1}" if own is None else f"annotation {own}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _error(path: str, message: str) -> DataError:
    return DataError(Problem(show(path), message))


_OF_BOX, _START_BYTES = 4, 2**16
_FLAGS = {0: False, 1: True, "0": False, "1": True}
_EXPECTED = "Expected COCO's labels: an object with images, annotations and categories"
