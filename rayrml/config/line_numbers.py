"""The line of each value in a JSON file, for messages about mistakes in it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from rayrml import storage
from rayrml.errors import Problem

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]|[^\s\[\]{}",:]+')


@dataclasses.dataclass(slots=True)
class _Container:
    """An object or a list that is being read, with the key or the index of its next value."""

    path: str
    is_list: bool
    key: str | None = None
    number: int = 0

    @property
    def next_path(self) -> str:
        """The path of the next value."""
        name = str(self.number) if self.is_list else self.key or ""
        return f"{self.path}.{name}" if self.path else name

    def advance(self) -> None:
        """Go on to the next value."""
        self.key = None
        self.number += 1


def find_lines(text: str) -> dict[str, int]:
    """The line, from 1, of every key and of every list item in a valid JSON text, by its dotted path."""
    return dict(_walk(text))


def find_repeated_keys(text: str) -> list[tuple[str, int]]:
    """The dotted path and the line of each key of a valid JSON text that its object already has."""
    seen: set[str] = set()
    repeated: list[tuple[str, int]] = []
    for path, line in _walk(text):
        if path in seen and not any(path.startswith(f"{other}.") for other, _ in repeated):
            repeated.append((path, line))
        seen.add(path)
    return repeated


def _walk(text: str) -> Iterator[tuple[str, int]]:
    """The path and the line of every key and of every list item, in order."""
    stack: list[_Container] = []
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position, token = match.start(), match[0]
        inside = stack[-1] if stack else None
        if token in "]}":
            stack.pop()
        elif token == ",":
            stack[-1].advance()
        elif inside is not None and not inside.is_list and inside.key is None:
            inside.key = json.loads(token)
            yield inside.next_path, line
        else:
            path = inside.next_path if inside is not None else ""
            if inside is not None and inside.is_list:
                yield path, line
            if token in "[{":
                stack.append(_Container(path, token == "["))


def with_lines(
    problems: Iterable[Problem], locate: Callable[[str], str | None], replaced: Iterable[str] = ()
) -> list[Problem]:
    """The problems of a configuration, each with its file and line, or those of the object that lacks something.

    Values set on the command line (the dotted keys `replaced`) have none, nor have problems in other files.

    Args:
        problems: mistakes at JSON paths, in files, or in layers.
        locate: finds the file and the line, such as `config.json:12`, of a dotted path.
        replaced: dotted keys, relative to `neural_network`.
    """
    return [_located(problem, locate, list(replaced)) for problem in problems]


def is_replaced(place: str, replaced: Iterable[str]) -> bool:
    """Whether a dotted path is, or is in, the value of one of the dotted keys `replaced`."""
    keys = (key if key.split(".")[0] in ("neural_network", "ray") else f"neural_network.{key}" for key in replaced)
    return any(place == key or place.startswith(f"{key}.") for key in keys)


def with_lines_in_network(problems: Iterable[Problem], path: str | Path) -> list[Problem]:
    """The problems of a network in a file, with their lines and JSON paths in it, as in `with_lines`.

    This concerns places that begin with `layers`, which stands for the file's content; others are left as they are.
    """
    listed = list(problems)
    inside = [re.match(r"layers(\W|$)", problem.where) is not None for problem in listed]
    lines = _lines_of_file(path) if any(inside) else {}
    return [
        _located_in_network(problem, str(path), lines) if here else problem
        for problem, here in zip(listed, inside, strict=True)
    ]


def _lines_of_file(path: str | Path) -> dict[str, int]:
    try:
        return find_lines(storage.read(path).decode("utf-8-sig"))
    except (OSError, ValueError):  # removed or changed since it was read
        return {}


def _located(problem: Problem, locate: Callable[[str], str | None], replaced: Iterable[str]) -> Problem:
    place = dotted(problem.where)
    if problem.line or is_replaced(place, replaced):
        return problem
    line = locate(place)
    return problem if line is None else dataclasses.replace(problem, line=line)


def _located_in_network(problem: Problem, path: str, lines: Mapping[str, int]) -> Problem:
    """The problem with the file's line, or with the file if no line is known; `layers` alone means the whole file."""
    if problem.where == "layers":
        return dataclasses.replace(problem, where=path)
    line = _line(dotted(problem.where.removeprefix("layers")).removeprefix("."), lines)
    where = problem.where.removeprefix("layers.")
    return dataclasses.replace(problem, where=where, line=path if line is None else f"{path}:{line}")


def dotted(place: str) -> str:
    """A JSON path with the numbers of list items as parts: `a[1].b` -> `a.1.b`."""
    return re.sub(r"\[(\d+)\]", r".\1", place)


def _line(place: str, lines: Mapping[str, int]) -> int | None:
    """The line of a place, or of the nearest enclosing one that is in the file."""
    while place not in lines and "." in place:
        place = place.rpartition(".")[0]
    return lines.get(place)
