"""The files of a configuration: JSON, YAML or TOML, and those that it extends, merged into one value."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.config.json_comments import decode_with_comments
from rayrml.config.json_files import find_unusable, format_value, read_file
from rayrml.config.line_numbers import find_lines, with_lines
from rayrml.config.merging import merge
from rayrml.config.variables import substitute
from rayrml.errors import ConfigError, DataError, Problem

EXTENDS = "extends"
_MOST_FILES = 100


@dataclasses.dataclass(frozen=True)
class Source:
    """One file of a configuration.

    Attributes:
        path: the file, as it was named; "" for an object of a program.
        value: what it holds.
        find: finds the lines of its values when they are asked for.
    """

    path: str
    value: Any
    find: Callable[[], Mapping[str, int]]

    @functools.cached_property
    def lines(self) -> Mapping[str, int]:
        """The line of every key and of every list item, by its dotted path."""
        return self.find()

    @property
    def folder(self) -> str:
        """The folder to which the names of other files in it are relative: the current one for a pipe."""
        return storage.parent(self.path) if storage.is_uri(self.path) or Path(self.path).is_file() else ""


def read_source(path: str | Path, where: str = "") -> Source:
    """A file in the format that its name ends with: `.yaml` or `.yml`, `.toml`, and else JSON with comments.

    Raises:
        DataError: the file cannot be read; `where` is the key that names it.
        ConfigError: it has mistakes in its format; names the line.
    """
    content = read_file(path, where)
    ending, name = storage.suffix(path), str(path)
    if ending in (".yaml", ".yml"):
        from rayrml.config.yaml_files import decode_yaml  # JSON does not wait for the library

        value, lines = decode_yaml(_text(content, name, "YAML"), name)
        return Source(name, value, lambda: lines)
    if ending == ".toml":
        from rayrml.config.toml_files import decode_toml, find_toml_lines

        text = _text(content, name, "TOML")
        return Source(name, decode_toml(text, name), lambda: find_toml_lines(text))
    value, plain = decode_with_comments(content, name)
    return Source(name, value, lambda: find_lines(plain))


def read_merged(config: Any) -> tuple[Any, list[Source], list[Problem]]:
    """The value of a configuration merged with those of the files that it extends, and its files, the nearest first.

    The third result is what is wrong with the environment variables in the files. An object that is no file may extend
    files, but its own strings stay as they are.

    Raises:
        DataError, ConfigError: as for `read_source`; or the files extend one another in a circle.
    """
    if isinstance(config, str | Path):
        source = read_source(config)
        whole, sources = _Chain().add(source) if _extends(source.value) else (source.value, [source])
        with locating(sources):
            refuse_unusable(whole)
        whole, problems = substitute(whole)
        return whole, sources, problems
    if not _extends(config):
        return config, [], []
    refuse_unusable(config)
    own = {key: value for key, value in config.items() if key != EXTENDS}
    whole, (_, *sources) = _Chain().add(Source("", {EXTENDS: config[EXTENDS]}, dict))
    whole, problems = substitute(whole)
    # Its values hide those of the files, and have no lines.
    given = Source("", own, lambda: dict.fromkeys(list_paths(own), 0))
    return merge(whole, own), [given, *sources], problems


def _extends(value: Any) -> bool:
    return isinstance(value, Mapping) and EXTENDS in value


class _Chain:
    """Reads a file and what it extends."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._count = 0

    def add(self, source: Source) -> tuple[dict[str, Any], list[Source]]:
        """The merged value and the files, the nearest first."""
        self._count += 1
        if self._count > _MOST_FILES:
            raise ConfigError(Problem(source.path, f"extends too many files. Expected at most {_MOST_FILES} in all"))
        with locating([source]):
            refuse_unusable(source.value)
            if not isinstance(source.value, dict):
                raise ConfigError(Problem(source.path, "expected an object, whose values others replace"))
            names = _list_bases(source.value)
        own = {key: value for key, value in source.value.items() if key != EXTENDS}
        merged: dict[str, Any] = {}
        sources: list[Source] = []
        self._open.append(source.path)
        for name in names:
            path = _beside(name, source.folder)
            self._refuse_circle(path, source)
            with locating([source]):
                base = read_source(path, EXTENDS)
            whole, files = self.add(base)
            merged = merge(merged, whole)
            sources = [*files, *sources]  # later ones count more
        self._open.pop()
        return merge(merged, own), [source, *sources]

    def _refuse_circle(self, path: str, source: Source) -> None:
        identities = [_identity(one) for one in self._open]
        if _identity(path) in identities:
            first = identities.index(_identity(path))
            circle = " extends ".join([*self._open[first:], path])
            with locating([source]):
                raise ConfigError(Problem(EXTENDS, f"the files extend one another in a circle: {circle}"))


@contextlib.contextmanager
def locating(sources: Sequence[Source]) -> Iterator[None]:
    """Add the lines of files to the problems of errors that the block raises."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(*with_lines(error.problems, functools.partial(find_line, sources))) from None


def find_line(sources: Sequence[Source], place: str, present: frozenset[str] | None = None) -> str | None:
    """The file and the line of a place, such as `config.json:12`; see `find_origin`."""
    origin = find_origin(sources, place, present)
    return None if origin is None or not origin[0].path else f"{origin[0].path}:{origin[1]}"


def find_origin(sources: Sequence[Source], place: str, present: frozenset[str] | None) -> tuple[Source, int] | None:
    """The file and the line of a dotted place, or of the nearest enclosing one that is in a file.

    Args:
        sources: the files of a configuration, the nearest first.
        place: the dotted path.
        present: the paths that are left when the files are merged; None if nothing was merged.
    """
    while place:
        if present is None or place in present:
            for source in sources:
                if place in source.lines:
                    return source, source.lines[place]
        place = place.rpartition(".")[0]
    return None


def list_paths(value: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all values in a value."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        below = f"{path}.{key}" if path else str(key)
        yield below
        yield from list_paths(inner, below)


def refuse_unusable(value: Any) -> None:
    """Raise ConfigError if a value is not JSON or means nothing in a configuration."""
    if problems := find_unusable(value):
        raise ConfigError(*problems)


def _list_bases(value: Mapping[str, Any]) -> list[str]:
    """The files that a file extends, as it names them. Raises ConfigError for anything but names."""
    given, problems = substitute(value.get(EXTENDS), EXTENDS)
    if problems:
        raise ConfigError(*problems)
    names = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(name, str) and name for name in names):
        shown = format_value(given)
        raise ConfigError(Problem(EXTENDS, f"must be the path of a configuration or a list of them, got {shown}"))
    return names


def _beside(name: str, folder: str) -> str:
    """The path of a file that another one in `folder` names."""
    if storage.is_uri(name):
        return name
    name = os.path.expanduser(name)  # noqa: PTH111 (a string)
    if not storage.is_uri(folder) or name.startswith("/"):
        return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 (strings)
    for part in name.split("/"):
        folder = storage.parent(folder) if part == ".." else folder if part in ("", ".") else storage.join(folder, part)
    return folder


def _identity(path: str) -> str:
    return path if storage.is_uri(path) else os.path.realpath(path)


def _text(content: bytes, place: str, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(Problem(place, f"not valid {name}. Expected UTF-8 text")) from None
