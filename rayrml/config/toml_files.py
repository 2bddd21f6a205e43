"""TOML as a way to write JSON, with the line of each value, which Python's own reader of TOML does not keep."""

from __future__ import annotations

import bisect
import functools
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from rayrml.errors import ConfigError, Problem

_AT = re.compile(r"^(?P<message>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)
_SPACE = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'"
_KEY = re.compile(rf"(?:[A-Za-z0-9_-]+|{_STRING})(?:[ \t]*\.[ \t]*(?:[A-Za-z0-9_-]+|{_STRING}))*")
_KEY_PART = re.compile(rf"[A-Za-z0-9_-]+|{_STRING}")
# A date and its time may be separated by a space; up to two quotes may stand before the three that end a text.
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})' + r"|'''.*?'''(?:'{0,2})" + rf"|{_STRING}|"
    r"\d{4}-\d\d-\d\d[ Tt]\d[^\s,\]}#]*|[^\s,\]}#]+",
    re.DOTALL,
)

Keys = tuple[str, ...]  # to a value, with the numbers of items in lists; dotted, two places could look the same


def decode_toml(text: str, place: str) -> Any:
    """The value of a TOML text. Raises ConfigError, which names the line in `place`, if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.match(str(error))
        at = found["line"] or text.count("\n") + 1 if found else None
        column = f", column {found['column']}" if found and found["column"] else ""
        position = f"{place}, line {at}{column}" if at else place
        message = found["message"] if found else str(error)
        raise ConfigError(Problem(position, f"not valid TOML. {message}")) from None
    except RecursionError:
        raise ConfigError(Problem(place, "not usable TOML. It is nested too deeply")) from None
    except ValueError:  # also an impossible date
        message = "not usable TOML. It has a number with thousands of digits, or an impossible date"
        raise ConfigError(Problem(place, message)) from None


def find_toml_lines(text: str) -> dict[str, int]:
    """The line, from 1, of every key and of every list item in a valid TOML text, by its dotted path."""
    ends = [match.start() for match in re.finditer("\n", text)]
    found: dict[str, int] = {}
    for path, position in _Scan(text).places():
        found.setdefault(functools.reduce(_join, path, ""), bisect.bisect_left(ends, position) + 1)
    return found


class _Scan:
    """One pass over a valid TOML text."""

    def __init__(self, text: str):
        self._text = text
        self._position = 0
        self._last_of: dict[Keys, int] = {}  # the index of the last table of each array of tables

    def places(self) -> Iterator[tuple[Keys, int]]:
        """The keys and the position of every key and of every list item, in order."""
        table: Keys = ()
        while self._skip_space() < len(self._text):
            begin = self._position
            if self._takes("[["):
                *outer, last = self._key()
                above = yield from self._table(outer, begin)
                listed = (*above, last)
                self._last_of[listed] = self._last_of.get(listed, -1) + 1
                table = (*listed, str(self._last_of[listed]))
                yield from ((path, begin) for path in (listed, table))
                self._takes("]]")
            elif self._takes("["):
                table = yield from self._table(self._key(), begin)
                self._takes("]")
            else:
                yield from self._pair(table)

    def _table(self, parts: list[str], begin: int) -> Iterator[Any]:
        """The path of a table; of an array of tables, the last one is meant."""
        path: Keys = ()
        for part in parts:
            path = (*path, part)
            yield path, begin
            if path in self._last_of:
                path = (*path, str(self._last_of[path]))
        return path

    def _pair(self, table: Keys) -> Iterator[tuple[Keys, int]]:
        begin = self._position
        path = table
        for part in self._key():
            path = (*path, part)
            yield path, begin
        self._skip_space()
        self._takes("=")
        yield from self._value(path)

    def _value(self, path: Keys) -> Iterator[tuple[Keys, int]]:
        self._skip_space()
        if self._takes("["):
            number = 0
            while self._skip_space() < len(self._text) and not self._takes("]"):
                below = (*path, str(number))
                yield below, self._position
                yield from self._value(below)
                number += 1
                self._skip_space()
                self._takes(",")
        elif self._takes("{"):
            while self._skip_space() < len(self._text) and not self._takes("}"):
                yield from self._pair(path)
                self._skip_space()
                self._takes(",")
        else:
            self._match(_SCALAR)

    def _key(self) -> list[str]:
        self._skip_space()
        parts = [match[0] for match in _KEY_PART.finditer(self._match(_KEY))]
        self._skip_space()
        return [tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part for part in parts]

    def _skip_space(self) -> int:
        self._match(_SPACE)
        return self._position

    def _takes(self, expected: str) -> bool:
        taken = self._text.startswith(expected, self._position)
        self._position += len(expected) if taken else 0
        return taken

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        found = "" if match is None else match[0]
        self._position += len(found)
        return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
