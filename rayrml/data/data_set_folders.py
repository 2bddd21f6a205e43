"""The folders of a data set that is unpacked: of its parts, by the names of its files, and of its classes."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from rayrml.data.discovery import quote_some
from rayrml.data.layout import ROLES, find_misread
from rayrml.data.scanning import is_passed_over
from rayrml.errors import DataError, Problem

_NUMBERED = re.compile(r"(.+?)-(\d+)-of-(\d+)(?:-[0-9a-f]+)?")  # such as `train-00000-of-00002`
_NAMELESS = re.compile(r"(?:(?:part|shard|data|chunk|file)[-_.]?)?\d+|part-\d+[-.].*", re.IGNORECASE)
_UNSUITED = re.compile(r"[/\\\0-\x1f\x7f]")  # in the name of a file or a folder
_MOST_FILE, _MOST_FOLDER = 200, 255  # bytes; file systems allow 255, also with an ending
_ROLE_NAMES = frozenset(name for names in ROLES.values() for name in names)


class _Place(NamedTuple):
    """What the name of a file tells.

    Attributes:
        part: the part of the data set.
        folder: above all files of the part.
        text: what else the files of one part have in common.
        number: of the file among those of the part.
        total: of the files of the part, 0 if it is not told.
    """

    part: str
    folder: str
    text: str = ""
    number: int = 0
    total: int = 0


def find_parts(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of Parquet files by the parts of the data set that they tell.

    These are `train-00000-of-00002.parquet`, `train/0000.parquet`, `train_0.parquet` or `train.parquet`.

    Raises:
        DataError: a file of a part is missing, there are several of the same part, or folders hold values of columns.
    """
    parts: dict[str, dict[str, _Place]] = defaultdict(dict)
    for name in names:
        place = _locate(name)
        parts[place.part][name] = place
    for part, places in parts.items():
        _check_places(part, places)
        _check_numbers(part, places)
    return {part: list(places) for part, places in parts.items()}


def find_part(name: str) -> str:
    """The only name of a part, such as `train`, among the words of a name; "" if there is none or several."""
    found = _ROLE_NAMES.intersection(re.split(r"[^a-z]+", name.casefold()))
    return next(iter(found)) if len(found) == 1 else ""


def name_classes(classes: Sequence[Any], cure: str = "") -> dict[Any, str]:
    """The folder of each class. Raises DataError if it cannot be one, or is read as something else; `cure` is added."""
    folders = name_folders(classes, cure)
    if misread := find_misread(list(folders.values())):
        raise _unsuited(f"the folders {quote_some(misread)} would be read as parts of a data set", cure)
    return folders


def name_folders(classes: Sequence[Any], cure: str = "") -> dict[Any, str]:
    """The folder of each of some names, in whose order numbers come after smaller ones.

    Raises:
        DataError: two would have the same folder, or one cannot have any; `cure` is added.
    """
    distinct = list(dict.fromkeys(classes))
    digits = max((len(str(name)) for name in distinct if str(name).isdecimal()), default=0)
    folders = {name: _suited(str(name)) for name in distinct}
    if all(str(name).isdecimal() for name in distinct):
        folders = {name: str(name).zfill(digits) for name in distinct}
    first: dict[str, Any] = {}
    for name, folder in folders.items():
        if (other := first.setdefault(_folded(folder), name)) != name:
            raise _unsuited(f"'{other}' and '{name}' would both be in the folder '{folder}'", cure)
        if len(folder.encode()) > _MOST_FOLDER:
            raise _unsuited(f"'{name[:_MOST_FILE]}...' is too long for the name of a folder", cure)
    return folders


def are_suited(stems: Sequence[str], folders: Sequence[str]) -> bool:
    """Whether files can have these names without their endings in these folders, without being the same file."""
    places = {(folder, _folded(stem)) for folder, stem in zip(folders, stems, strict=True)}
    return len(places) == len(stems) and all(map(_is_suited, stems))


def _locate(name: str) -> _Place:
    """What the name of a file tells. Raises DataError for a folder whose name holds the value of a column."""
    folders, stem = name.split("/")[:-1], name.rpartition("/")[2][: -len(".parquet")]
    if partition := next((folder for folder in folders if "=" in folder), None):
        message = f"is in the folder '{partition}' of a partitioned table, whose name holds a column's value"
        raise DataError(Problem(name, f"{message}. Expected all columns in the files"))
    found = _NUMBERED.fullmatch(stem)
    text = found[1] if found else stem
    numbers = (int(found[2]), int(found[3])) if found else (0, 0)
    if part := find_part(text):
        return _Place(part, "/".join(folders), re.sub(r"\d+", "", text), *numbers)
    for depth in reversed(range(len(folders))):
        if part := find_part(folders[depth]):
            return _Place(part, "/".join(folders[:depth]))
    if not _NAMELESS.fullmatch(text):
        return _Place(text, "/".join(folders), text, *numbers)
    return _Place(folders[-1].removesuffix(".parquet") if folders else "", "/".join(folders[:-1]))


def _check_places(part: str, places: dict[str, _Place]) -> None:
    """Raise DataError if the files of a part seem to be of several data sets."""
    first = next(iter(places))
    folders = sorted({place.folder for place in places.values()})
    if len(folders) > 1:
        message = f"'{part}' is in the folders {quote_some(folders)}. Expected one data set: name its folder"
        raise DataError(Problem(first, message))
    for name, place in places.items():
        if place.text != places[first].text:
            raise DataError(Problem(first, f"and '{name}' could both be '{part}'. Expected one of them: name the file"))


def _check_numbers(part: str, places: dict[str, _Place]) -> None:
    """Raise DataError if files of a part are missing, or there are several versions of it."""
    first, total = next((name, place.total) for name, place in places.items())
    seen: dict[int, str] = {}
    for name, place in places.items():
        same = first if place.total != total else seen.setdefault(place.number, name) if total else name
        if same != name:
            message = f"and '{name}' seem to be of two versions of '{part}'. Expected one: remove the older files"
            raise DataError(Problem(same, message))
    if total and len(places) != total:
        message = f"only {len(places)} of the {total} files of '{part}' are there. Fetch the others"
        raise DataError(Problem(first, message))


def _unsuited(message: str, cure: str) -> DataError:
    return DataError(Problem("classes", f"{message}. {cure}" if cure else message))


def _folded(name: str) -> str:
    """What file systems may take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_suited(name: str) -> bool:
    return bool(name) and _suited(name) == name and len(name.encode(errors="replace")) <= _MOST_FILE


def _suited(name: str) -> str:
    """A text as the name of a folder that is read."""
    name = _UNSUITED.sub("_", name) or "_"
    return f"_{name}" if is_passed_over(name) else name
