"""`${NAME}` and `${NAME:-default}` in the strings of a configuration: the values of environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rayrml.config.named_networks import is_named
from rayrml.errors import Problem

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^{}$]*))?\}|(?P<wrong>\$\{)", re.ASCII)
_BARE = re.compile(r"\$(?P<name>[A-Za-z_]\w*)(?:/|$)", re.ASCII)
_FORMS = "Expected ${NAME} or ${NAME:-default}; $${ stands for the characters ${"


def substitute(values: Any, where: str = "") -> tuple[Any, list[Problem]]:
    """The values with their variables replaced, and each place below `where` at which that is impossible.

    Layers in the configuration stay as Keras wrote them. Keys are never changed.
    """
    problems: list[Problem] = []
    return _replace(values, where, problems), problems


def escape(values: Any) -> Any:
    """The values as they must be written into a file, so that whoever reads it gets them back unchanged."""
    return _map_strings(values, "", lambda text, where: text.replace("${", "$${"))


def _replace(values: Any, where: str, problems: list[Problem]) -> Any:
    def replaced(text: str, place: str) -> str:
        problems.extend(Problem(place, message) for message in dict.fromkeys(_complaints(text)))
        return _VARIABLE.sub(_value, text)

    return _map_strings(values, where, replaced)


def _map_strings(value: Any, where: str, change: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return change(value, where) if "$" in value else value
    if isinstance(value, Mapping):
        return {
            key: inner
            if _is_network(where, key, inner)
            else _map_strings(inner, f"{where}.{key}" if where else str(key), change)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_map_strings(inner, f"{where}.{number}", change) for number, inner in enumerate(value)]
    return value


def _is_network(where: str, key: Any, value: Any) -> bool:
    places = ("neural_network", "neural_network.critic")
    return where in places and key == "layers" and not isinstance(value, str) and not is_named(value)


def _complaints(text: str) -> Iterator[str]:
    bare = _BARE.match(text)
    if bare is not None and bare["name"] in os.environ:
        yield f"'{text}' begins with a variable without braces. Expected ${{{bare['name']}}}, or ./{text} for a name"
    found = list(_VARIABLE.finditer(text))
    if any(match["wrong"] for match in found):
        yield f"'{text}' contains an incomplete variable. {_FORMS}"
        return
    for match in found:
        name = match["name"]
        if name and match["default"] is None and not os.environ.get(name):
            state = "empty" if name in os.environ else "not set"
            yield f"the environment variable {name} is {state}. Set it, or give a default: ${{{name}:-default}}"


def _value(match: re.Match[str]) -> str:
    if match["name"] is None:
        return "${" if match["wrong"] is None else match[0]
    return os.environ.get(match["name"]) or match["default"] or ""
