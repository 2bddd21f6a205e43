"""YAML as a way to write JSON: the values are those of YAML 1.2's core schema, and anything ambiguous is refused.

YAML 1.1, which most libraries read, makes a string of `1e-3`, `false` of `no` and `off`, a date of `2024-01-01`, and
8 of `010`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from rayrml.errors import ConfigError, Problem

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_MOST_LEVELS = 100
_MOST_VALUES = 300_000  # anchors that repeat each other could make any number of them
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_Pairs = dict[str, tuple[yaml.Node, yaml.Node]]  # a key's name -> the nodes of the key and its value
_FLOATS = {"inf": float("inf"), "nan": float("nan")}


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as YAML 1.2's core schema does; dates, sexagesimal and octal numbers are strings."""


_Loader.yaml_implicit_resolvers = {}

for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def decode_yaml(text: str, place: str) -> tuple[Any, dict[str, int]]:
    """The value of a YAML text, and the line of every key and of every list item by its dotted path.

    Raises:
        ConfigError: it is not YAML, has no JSON value, or an object has a key twice; names the line in `place`.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        reading = _Reading(loader, place)
        return (None if root is None else reading.read(root, "", 0)), reading.lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML. It has the control character {chr(int(error.character))!r}"
        raise ConfigError(Problem(f"{place}, line {line}", message)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"{place}, line {mark.line + 1}, column {mark.column + 1}" if mark else place
        raise ConfigError(Problem(position, f"not valid YAML. {_describe(error, text)}")) from None
    except RecursionError:
        raise ConfigError(Problem(place, "not usable YAML. It is nested too deeply")) from None
    finally:
        if loader is not None:
            loader.dispose()


def _describe(error: yaml.MarkedYAMLError, text: str) -> str:
    """What is wrong with the text, and the usual cause if there is one."""
    problem = (error.problem or "").replace("'\\t'", "a tab")
    if "tab" in problem:
        return "A tab cannot indent a line. Expected spaces"
    if "mapping values are not allowed" in problem:
        return "A value contains ': ', or a line has the wrong indentation. Expected quotes around such a value"
    words = ". ".join(part[:1].upper() + part[1:] for part in (error.context or "", problem) if part)
    started = error.context_mark
    return f"{words} (begun in line {started.line + 1})" if error.context and started else words


class _Reading:
    """Makes JSON's values of YAML's nodes, and keeps their lines."""

    def __init__(self, loader: _Loader, place: str):
        self.lines: dict[str, int] = {}
        self._loader = loader
        self._place = place
        self._count = 0
        self._pairs_of: dict[int, _Pairs] = {}

    def read(self, node: yaml.Node, path: str, level: int) -> Any:
        """The value of a node at the dotted `path`. Raises ConfigError."""
        self._count += 1
        if level > _MOST_LEVELS:
            raise self._too_deep(node, path)
        if self._count > _MOST_VALUES:
            raise self._error(node, path, f"has more than {_MOST_VALUES} values with all that its anchors repeat")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._object(node, path, level)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._inside(item, item, _join(path, str(i)), level) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in (f"{_TAG}str", _MERGE):
            return node.value
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        raise self._error(node, path, f"the tag {node.tag.replace(_TAG, '!!')} has no value in JSON")

    def _object(self, node: yaml.MappingNode, path: str, level: int) -> dict[str, Any]:
        pairs = self._pairs(node, path, level)
        return {name: self._inside(key, inner, _join(path, name), level) for name, (key, inner) in pairs.items()}

    def _inside(self, begin: yaml.Node, node: yaml.Node, path: str, level: int) -> Any:
        """The value of a list's item or of a key, which begins with its own node or that of the key."""
        self.lines[path] = begin.start_mark.line + 1
        return self.read(node, path, level + 1)

    def _pairs(self, node: yaml.MappingNode, path: str, level: int) -> _Pairs:
        """The keys of an object by name: those that come in by `<<`, which the object's own keys replace."""
        if level > _MOST_LEVELS:
            raise self._too_deep(node, path)
        if id(node) not in self._pairs_of:
            own: _Pairs = {}
            merged: _Pairs = {}
            for key, inner in node.value:
                if key.tag == _MERGE:
                    # Of several objects, the first one that has a key counts.
                    for other in reversed(self._merged_objects(inner, path)):
                        merged |= self._pairs(other, path, level + 1)
                else:
                    self._refuse_key(key, path, own)
                    own[key.value] = (key, inner)
            self._pairs_of[id(node)] = merged | own
        return self._pairs_of[id(node)]

    def _merged_objects(self, node: yaml.Node, path: str) -> list[yaml.MappingNode]:
        listed = node.value if isinstance(node, yaml.SequenceNode) else [node]
        objects = [one for one in listed if isinstance(one, yaml.MappingNode)]
        if len(objects) == len(listed):
            return objects
        raise self._error(node, path, "`<<` takes the keys of an object, or of a list of objects")

    def _refuse_key(self, key: yaml.Node, path: str, others: _Pairs) -> None:
        if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
            shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or an object"
            raise self._error(key, path, f"{shown} is not a key. Expected a string; quotes make it one")
        if key.value in others:
            raise self._error(key, _join(path, key.value), "this key is given twice in one object. Expected it once")

    def _too_deep(self, node: yaml.Node, path: str) -> ConfigError:
        return self._error(node, path[:80], f"is nested too deeply. Expected at most {_MOST_LEVELS} levels")

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        if node.tag in (f"{_TAG}int", f"{_TAG}float") and _LEADING_ZERO.match(node.value):
            message = f"{node.value[:40]} is one number in YAML 1.1 and another in YAML 1.2. Expected no zero before it"
            raise self._error(node, path, f"{message}, or quotes if it is text")
        try:
            return _SCALARS[node.tag](node.value)
        except (ValueError, KeyError):
            message = f"{node.value[:40]!r} is not of the type {node.tag.replace(_TAG, '!!')}, or has too many digits"
            raise self._error(node, path, message) from None

    def _error(self, node: yaml.Node, path: str, message: str) -> ConfigError:
        return ConfigError(Problem(path or "configuration", message, f"{self._place}:{node.start_mark.line + 1}"))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(text: str) -> float:
    name = text.lstrip("+-").lower()
    if not name.startswith((".inf", ".nan")):
        return float(text)
    return -_FLOATS[name[1:]] if text.startswith("-") else _FLOATS[name[1:]]


_SCALARS: dict[str, Callable[[str], Any]] = {
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: {"true": True, "false": False}[text.lower()],
    f"{_TAG}int": _integer,
    f"{_TAG}float": _float,
}
