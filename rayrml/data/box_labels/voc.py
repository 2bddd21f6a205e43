"""PASCAL VOC's label files: an XML for each image, with the image's size and a box in pixels for each object.

Source: the VOC2012 development kit; its pixels are counted from 1, both ends included. Half of all tools count from 0.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from rayrml.data.box_labels.table import Rows, no_rows
from rayrml.data.box_labels.text_files import LabelMistake, decode
from rayrml.data.byte_order_marks import BYTE_ORDER_MARKS


class Object(NamedTuple):
    """An object as it was written.

    Attributes:
        name: its class.
        ignored: whether it is difficult.
        corners: xmin, ymin, xmax, ymax.
        number: 1 for the first one of the file.
    """

    name: str
    ignored: bool
    corners: tuple[float, float, float, float]
    number: int


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A label file.

    Attributes:
        size: height and width of the image, (0, 0) if they are not told.
        objects: its objects.
    """

    size: tuple[int, int]
    objects: tuple[Object, ...]


def parse(content: bytes) -> Annotation:
    """The objects in a file, none in an empty one. Raises LabelMistake, which names the object."""
    if not content.strip():
        return Annotation((0, 0), ())
    text, certain = _decode(content)
    if match := _FORBIDDEN.search(text):
        raise LabelMistake(f"holds {match[0]}, which is refused. Expected XML without it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        line, _ = error.position
        raise LabelMistake(f"line {line}: is not valid XML. {str(error).partition(':')[0].capitalize()}") from None
    except ValueError:
        raise LabelMistake("is not valid XML: it holds halves of characters. Save the file as UTF-8") from None
    if root.tag != "annotation":
        message = f"is XML, but not VOC's: it begins with <{root.tag[:40]}>. Expected <annotation>"
        raise LabelMistake(message)
    objects = tuple(_parse_object(element, number) for number, element in enumerate(root.findall("object"), 1))
    for each in objects:
        if not certain and not each.name.isascii():
            raise LabelMistake(f"object {each.number}: its name is not UTF-8 text. Save the file as UTF-8")
    return Annotation(_parse_size(root), objects)


def counts_from_one(annotations: Iterable[Annotation]) -> bool:
    """Whether all coordinates are whole numbers of at least 1."""
    coordinates = (value for one in annotations for each in one.objects for value in each.corners)
    return all(value >= 1 and value == math.floor(value) for value in coordinates)


def join_rows(
    annotations: Mapping[int, Annotation], names: Mapping[str, int], origin: int
) -> tuple[Rows, dict[int, tuple[int, int]]]:
    """The objects of all images, and the images' sizes where they are told.

    Args:
        annotations: the label file of each image, in the order of the images.
        names: the code of each class.
        origin: what the first pixel is called, 0 or 1.
    """
    sizes = {image: one.size for image, one in annotations.items() if 0 not in one.size}
    pairs = [(image, each) for image, one in annotations.items() for each in one.objects]
    if not pairs:
        return no_rows(), sizes
    rows = Rows(
        images=np.array([image for image, _ in pairs], np.int64),
        corners=np.array([each.corners for _, each in pairs], float) - [origin, origin, 0, 0],
        codes=np.array([names[each.name] for _, each in pairs], np.int64),
        ignored=np.array([each.ignored for _, each in pairs]),
        objects=np.array([each.number for _, each in pairs], np.int64),
    )
    return rows, sizes


def _decode(content: bytes) -> tuple[str, bool]:
    """The text, and whether its encoding is certain: some tools write the system's own, and say nothing."""
    if content.startswith(tuple(BYTE_ORDER_MARKS)):
        return decode(content), True
    declared = _DECLARED.match(content)
    if declared is None:
        try:
            return decode(content), True
        except LabelMistake:
            if b"\0" in content:
                raise
            return content.decode("latin-1"), False
    name = declared[1].decode()
    # What says in single bytes that it has more is not what it says; .NET writes such files.
    encoding = "utf-8" if name.lower().startswith(("utf-16", "utf16", "utf-32", "ucs")) else name
    try:
        if codecs.lookup(encoding).name in _NO_ENCODINGS:
            raise LookupError
        return content.decode(encoding), True
    except LookupError:
        raise LabelMistake(f"line 1: the encoding '{name[:40]}' is unknown. Save the file as UTF-8") from None
    except UnicodeError:
        if codecs.lookup(encoding).name != "utf-8":
            raise LabelMistake(f"is not {name[:40]} text, as its first line says. Save the file as UTF-8") from None
        return content.decode("latin-1"), False


def _parse_object(element: ElementTree.Element, number: int) -> Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise LabelMistake(f"object {number}: has no name. Expected <name>, its class")
    where = f"object {number} ('{name[:60]}')"
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        other = next((f". {kind} is not read" for kind in _OTHER_SHAPES if element.find(kind) is not None), "")
        raise LabelMistake(f"{where}: has {len(boxes) or 'no'} bndbox{other}. Expected one")
    xmin, ymin, xmax, ymax = (_parse_number(boxes[0], key, where) for key in ("xmin", "ymin", "xmax", "ymax"))
    for axis, least, most in (("x", xmin, xmax), ("y", ymin, ymax)):
        if least > most:
            raise LabelMistake(f"{where}: {axis}min {least:g} is above {axis}max {most:g}. Expected the smaller first")
    return Object(name, _is_difficult(element, where), (xmin, ymin, xmax, ymax), number)


def _is_difficult(element: ElementTree.Element, where: str) -> bool:
    text = (element.findtext("difficult") or "").strip().lower()
    if text not in _FLAGS:
        raise LabelMistake(f"{where}: difficult is '{text[:40]}'. Expected 0 or 1")
    return _FLAGS[text]


def _parse_number(box: ElementTree.Element, key: str, where: str) -> float:
    text = box.findtext(key)
    if text is None:
        raise LabelMistake(f"{where}: its bndbox has no {key}. Expected xmin, ymin, xmax and ymax")
    value = _number(text)
    if value is None or not -_MOST_PIXELS < value < _MOST_PIXELS:
        raise LabelMistake(f"{where}: {key} is '{text.strip()[:40]}'. Expected a number of pixels")
    return value


def _parse_size(root: ElementTree.Element) -> tuple[int, int]:
    """Height and width; (0, 0) if either is not told."""
    size = []
    for key in ("height", "width"):
        text = (root.findtext(f"size/{key}") or "0").strip() or "0"
        value = _number(text)
        if value is None or not 0 <= value < _MOST_PIXELS or value != math.floor(value):
            raise LabelMistake(f"the image's {key} is '{text[:40]}'. Expected a whole number of pixels")
        size.append(int(value))
    return (0, 0) if 0 in size else (size[0], size[1])


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


_NO_ENCODINGS = ("unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "utf-7", "mbcs", "oem")
_FORBIDDEN = re.compile("<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_OTHER_SHAPES = ("robndbox", "polygon", "mask")
_FLAGS = {
    "": False,
    "0": False,
    "false": False,
    "no": False,
    "unspecified": False,
    "1": True,
    "true": True,
    "yes": True,
}
_MOST_PIXELS = 2**31
