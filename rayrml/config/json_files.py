"""JSON from files and programs: read, and checked for what no configuration needs and no library accepts."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.config.line_numbers import find_repeated_keys
from rayrml.errors import ConfigError, Problem, explaining

# Each nested model adds four levels. Python, and the libraries that read JSON, stop at several hundred.
_MOST_LEVELS = 100
_MOST_DIGITS = 4000
_INTEGERS = range(-(2**63), 2**63)
_SPELLINGS = {
    r"['\u2018\u2019\u201c\u201d]": 'Strings and keys have double quotes: "text"',
    r"True\b": "JSON writes true",
    r"False\b": "JSON writes false",
    r"None\b": "JSON writes null",
    r"/\*": "This comment has no end: */",
    r"[.+]\.?\d": "JSON writes numbers as 0.5 and 5",
    r"\$\{": 'Variables are part of strings: "${NAME}"',
}


def read_json(path: str | Path, where: str = "") -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file cannot be read; `where` is the JSON path that names it.
        ConfigError: it is not JSON; names the line and the column.
    """
    return decode(read_file(path, where), str(path))


def read_file(path: str | Path, where: str = "") -> bytes:
    """The content of a JSON file. Raises DataError as `read_json` does."""
    place = where or str(path) or "''"
    with explaining(place, f"cannot read '{path}'", (OSError, ValueError)):  # ValueError: an impossible path
        return storage.read(_readable(path))


def _readable(path: str | Path) -> str | Path:
    try:
        return storage.absolute(str(path)) if storage.is_uri(path) else path
    except ValueError as error:
        raise ConfigError(Problem(str(path).partition("?")[0], str(error))) from None


def decode(content: bytes, place: str) -> Any:
    """The value of JSON text in UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: it is not JSON, or an object has a key twice; names the line in `place`.
    """
    repeats = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        built = dict(pairs)
        repeats = repeats or len(built) < len(pairs)
        return built

    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=build)
    except json.JSONDecodeError as error:
        position = f"{place}, line {error.lineno}, column {error.colno}"
        raise ConfigError(Problem(position, f"not valid JSON. {error.msg}{_hint(error)}")) from None
    except UnicodeDecodeError:
        raise ConfigError(Problem(place, "not valid JSON. Expected UTF-8 text")) from None
    except RecursionError:
        raise ConfigError(Problem(place, "not usable JSON. It is nested too deeply")) from None
    except ValueError:
        raise ConfigError(Problem(place, "not usable JSON. It has a number with thousands of digits")) from None
    if repeats:
        message = "this key is given twice in one object. Expected it once"
        raise ConfigError(*(Problem(path, message, f"{place}:{line}") for path, line in find_repeated_keys(text)))
    return value


def _hint(error: json.JSONDecodeError) -> str:
    """What to write in place of Python's or JavaScript's spelling at the place of an error; "" if there is none."""
    rest = error.doc[error.pos :]
    return next((f". {hint}" for spelling, hint in _SPELLINGS.items() if re.match(spelling, rest)), "")


def find_unusable(value: Any, where: str = "") -> list[Problem]:
    """Everything in a value that is not JSON or means nothing in a configuration, with its JSON path below `where`."""
    return [Problem(path or "configuration", message) for path, message in _complaints(value, where)]


def format_value(value: Any, most: int = 80) -> str:
    """A value as JSON for messages, shortened to a readable length."""
    if isinstance(value, int) and abs(value) >> 128:
        return "an integer with hundreds of digits" if value > 0 else "a negative integer with hundreds of digits"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _complaints(value: Any, where: str) -> Iterator[tuple[str, str]]:
    # No recursion: the value may be nested too deeply for it.
    pending: list[tuple[Any, str, int]] = [(value, where, 0)]
    while pending:
        place, path, level = pending.pop()
        if isinstance(place, Mapping | list | tuple):
            if level == _MOST_LEVELS:
                yield path, f"is nested too deeply. Expected at most {_MOST_LEVELS} nested lists and objects"
                return
            items = place.items() if isinstance(place, Mapping) else enumerate(place)
            inside = [(child, f"{path}.{key}" if path else str(key), level + 1) for key, child in items]
            if isinstance(place, Mapping):
                yield from ((path, message) for message in map(_of_key, place) if message)
            pending += reversed(inside)
        elif message := _of_scalar(place):
            yield path, message


def _of_key(key: Any) -> str | None:
    return _of_text(key) if isinstance(key, str) else f"{key!r} is not a key. Expected a string"


def _of_scalar(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, int):
        return None if value in _INTEGERS else f"{format_value(value)} is too large. Expected a 64-bit integer"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a finite number"
    if isinstance(value, datetime.date | datetime.time):
        return f"{value} is a date or a time, which JSON does not have. Expected quotes around it if it is text"
    return f"{value!r} is not JSON. Expected a number, a string, true, false, null, a list or an object"


def _of_text(text: str) -> str | None:
    """Why a string cannot be the name of a file, a layer or a dataset; None if it can."""
    if "\0" in text:
        return f"{format_value(text)} contains a null character. Expected text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{format_value(text)} contains half of a surrogate pair. Expected text"
    return None
