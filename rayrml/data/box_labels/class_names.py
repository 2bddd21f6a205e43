"""Names of classes: those that YOLO's data sets have beside their labels, and lists of a configuration."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from rayrml import storage
from rayrml.data.box_labels.text_files import LabelMistake, decode, place, read_lines, show
from rayrml.data.discovery import quote_some
from rayrml.errors import DataError, Problem, describe

LISTS = ("classes.txt", "obj.names")  # files with a name a line, which may lie among labels
_YAML = (".yaml", ".yml")
_LEVELS_ABOVE = 3
_MOST_BYTES = 2**22  # larger files do not describe a data set


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file says of a data set.

    Attributes:
        path: of the file.
        names: the classes in the order of their numbers.
        keypoints: how many numbers tell the keypoints of an object, 0 if there are none.
    """

    path: str
    names: tuple[str, ...]
    keypoints: int = 0


def find_description(folders: Sequence[str]) -> tuple[Description | None, list[str]]:
    """The names of a data set's classes, and what to say of other files with names.

    It is a `data.yaml` or another YAML file in one of the `folders` or up to three folders above, the nearest one; else
    a list in one of these.

    Raises:
        DataError: the file has a mistake, or several files in one folder name different classes.
    """
    places = list(_levels(folders))
    listings = [(folder, _list(folder)) for folder in places]
    described = next((one for folder, names in listings if (one := _in_yaml(folder, names))), None)
    listed = [storage.join(folder, name) for folder, names in listings for name in names if name.lower() in LISTS]
    if described is None:
        return (Description(listed[0], read_list(listed[0])) if listed else None), []
    notes: list[str] = []
    for path in listed[:1]:
        if read_list(path) != described.names:
            notes.append(f"{show(path)} names other classes than {show(described.path)}, and is not used")
    return described, notes


def read_names(path: str, where: str) -> tuple[str, ...]:
    """The classes that a file of a configuration names: a list in text, JSON or YAML. Raises DataError."""
    try:
        if not storage.is_file(path):
            raise DataError(Problem(where, f"no such file: '{path}'"))
        ending = storage.suffix(path)
        if ending in _YAML:
            described = read_description(path)
            if described is None:
                raise DataError(Problem(show(path), "has no names. Expected a list 'names'"))
            return described.names
        if ending == ".json":
            return check_names(_load_json(path), show(path))
        return read_list(path)
    except OSError as error:
        raise DataError(Problem(where, f"'{path}' cannot be read. {describe(error)}")) from None


def read_list(path: str) -> tuple[str, ...]:
    """The classes in a file with one a line. Raises DataError."""
    try:
        lines = read_lines(path)
    except LabelMistake as mistake:
        raise DataError(Problem("", place(path, str(mistake)))) from None
    except OSError as error:
        raise DataError(Problem(show(path), f"cannot be read. {describe(error)}")) from None
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        line = lines.index("") + 1
        raise DataError(Problem(f"{show(path)}, line {line}", "is empty. Expected a class, or no such line"))
    return check_names(lines, show(path))


def check_names(names: Any, where: str) -> tuple[str, ...]:
    """The names, without blanks around them. Raises DataError unless they are different texts."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(Problem(where, "class names are no list of texts. Expected one for each class"))
    stripped = tuple(name.strip() for name in names)
    if not stripped:
        raise DataError(Problem(where, "names no classes. Expected some"))
    if twice := [name for name, count in Counter(stripped).items() if count > 1]:
        raise DataError(Problem(where, f"class names hold {quote_some(twice)} several times. Expected different names"))
    return stripped


def read_yaml(path: str) -> dict[str, Any]:
    """The keys of a YAML file, all values as texts. Raises DataError."""
    try:
        content = storage.read(path)
        if len(content) > _MOST_BYTES:
            raise LabelMistake("is too large for a description of data")
        value = yaml.load(decode(content), yaml.BaseLoader)
    except LabelMistake as mistake:
        raise DataError(Problem("", place(path, str(mistake)))) from None
    except OSError as error:
        raise DataError(Problem(show(path), f"cannot be read. {describe(error)}")) from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or describe(error)
        raise DataError(
            Problem(f"{show(path)}{line}", f"is not valid YAML. {reason[:1].upper()}{reason[1:]}")
        ) from None
    return value if isinstance(value, dict) else {}


def _levels(folders: Sequence[str]) -> Iterator[str]:
    """The folders, then those above them, each once; the nearest first."""
    seen: set[str] = set()
    current = list(folders)
    for _ in range(_LEVELS_ABOVE + 1):
        for folder in current:
            if folder not in seen:
                seen.add(folder)
                yield folder
        current = [storage.parent(folder.rstrip("/") or "/") for folder in current]


def _list(folder: str) -> list[str]:
    """The names of the files in a folder; none if it cannot be listed."""
    try:
        return sorted(storage.list_folder(folder)[0])
    except OSError:
        return []


def _in_yaml(folder: str, names: Sequence[str]) -> Description | None:
    """The names in a folder's `data.yaml`, else in its other YAML files."""
    candidates = [name for name in names if name.lower().endswith(_YAML) and not name.startswith(".")]
    main = [name for name in candidates if name.lower() in ("data.yaml", "data.yml")]
    for name in main:
        if described := read_description(storage.join(folder, name)):
            return described
    found: list[Description] = []
    for name in candidates:
        try:
            own = read_description(storage.join(folder, name))
        except DataError:
            continue  # it may describe anything
        if own is not None:
            found.append(own)
    other = next((one for one in found if one.names != found[0].names), None)
    if other is not None:
        message = f"names other classes than {show(other.path)}"
        raise DataError(Problem(show(found[0].path), f'{message}. Expected "classes" in the configuration'))
    return found[0] if found else None


def read_description(path: str) -> Description | None:
    """The names in a YAML file, None if it has none. Raises DataError."""
    value = read_yaml(path)
    names = value.get("names")
    if not names:
        return None
    if isinstance(names, str):  # a path, or one name
        raise DataError(Problem(show(path), f"names is '{names[:60]}'. Expected a list, or a table of numbers"))
    ordered = check_names(_in_order(names, path) if isinstance(names, dict) else names, show(path))
    count = str(value.get("nc", len(ordered))).strip()
    if count and count != str(len(ordered)):
        raise DataError(Problem(show(path), f"nc is {count}, but names has {len(ordered)}. Expected as many"))
    return Description(path, ordered, _count_keypoints(value.get("kpt_shape")))


def _in_order(names: dict[str, Any], path: str) -> list[Any]:
    numbers = {int(key): name for key, name in names.items() if str(key).strip().isdecimal()}
    lacking = sorted(set(range(len(names))) - numbers.keys())
    if lacking:
        raise DataError(Problem(show(path), f"names has no number {lacking[0]}. Expected all from 0 to the last"))
    return [numbers[number] for number in range(len(names))]


def _count_keypoints(shape: Any) -> int:
    try:
        points, values = map(int, shape)
    except (TypeError, ValueError):
        return 0
    return points * values


def _load_json(path: str) -> Any:
    try:
        return json.loads(storage.read(path))
    except (ValueError, RecursionError) as error:
        raise DataError(Problem(show(path), f"is not valid JSON. {describe(error)}")) from None
