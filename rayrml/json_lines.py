"""On which line of a JSON file a value stands, so that mistakes can be found in it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path

from rayrml import storage
from rayrml.errors import Problem

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]|[^\s\[\]{}",:]+')


@dataclasses.dataclass(slots=True)
class _Container:
    """An object or a list that is being read, with the key or the number of the value that comes next in it."""

    path: str
    is_list: bool
    key: str | None = None
    number: int = 0

    @property
    def next_path(self) -> str:
        """The path of the value that comes next."""
        name = str(self.number) if self.is_list else self.key or ""
        return f"{self.path}.{name}" if self.path else name


def lines_of(text: str) -> dict[str, int]:
    """The line, from 1, of every key and of every list's item of a valid JSON text, by its dotted path.

    Of a key that an object has twice, the last one counts, as it does for its value.
    """
    found: dict[str, int] = {}
    stack: list[_Container] = []
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position, token = match.start(), match[0]
        inside = stack[-1] if stack else None
        if token in "]}":
            stack.pop()
        elif token == ",":
            _go_on(stack[-1])
        elif inside is not None and not inside.is_list and inside.key is None:
            inside.key = json.loads(token)
            _note(found, inside.next_path, line)
        else:
            path = inside.next_path if inside is not None else ""
            if inside is not None and inside.is_list:
                found[path] = line
            if token in "[{":
                stack.append(_Container(path, token == "["))
    return found


def _go_on(container: _Container) -> None:
    container.key = None
    container.number += 1


def _note(found: dict[str, int], path: str, line: int) -> None:
    if path in found:  # what stood below the key of before is nothing any more
        for old in [key for key in found if key.startswith(f"{path}.")]:
            del found[old]
    found[path] = line


def located(problems: Iterable[Problem], path: str | Path, replaced: Iterable[str]) -> list[Problem]:
    """The problems of a configuration file, each with its line, or that of the object in which something is missing.

    What the command line has set, the dotted keys `replaced`, has none, nor has what is wrong elsewhere.
    """
    try:
        lines = lines_of(storage.read(path).decode("utf-8-sig"))
    except (OSError, ValueError):  # it was there a moment ago
        return list(problems)
    known = [key if key.split(".")[0] in ("neural_network", "ray") else f"neural_network.{key}" for key in replaced]
    return [_located(problem, str(path), lines, known) for problem in problems]


def _located(problem: Problem, path: str, lines: dict[str, int], replaced: Iterable[str]) -> Problem:
    place = re.sub(r"\[(\d+)\]", r".\1", problem.where)
    place = f"neural_network.{place}" if place.split(".")[0] == "layers" else place
    if any(place == key or place.startswith(f"{key}.") for key in replaced):
        return problem
    while place not in lines and "." in place:
        place = place.rpartition(".")[0]
    return dataclasses.replace(problem, line=f"{path}:{lines[place]}") if place in lines else problem
