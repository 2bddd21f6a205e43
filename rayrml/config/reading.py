"""Reading a configuration: read once from its file, with the command line's settings, and checked once."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from rayrml import storage
from rayrml.config import search_spaces
from rayrml.config.json_files import decode, find_unusable, read_file
from rayrml.config.line_numbers import find_lines, with_lines
from rayrml.config.network_files import read_network_file
from rayrml.config.sections import Config, Ray
from rayrml.config.tables import list_problems
from rayrml.errors import ConfigError, DataError, Problem

UNNAMED = "run"  # what a configuration without a file is called


class Document:
    """A configuration as it was given.

    Attributes:
        values: the JSON, with the overrides applied.
        path: the file, None for a configuration that was given as an object.
        replaced: the dotted keys of the overrides.
    """

    def __init__(
        self,
        values: Any,
        *,
        path: str | None = None,
        text: str = "",
        replaced: Sequence[str] = (),
    ):
        self.values = values
        self.path = path
        self.replaced = tuple(replaced)
        self._text = text

    @property
    def name(self) -> str:
        """The name for runs of the configuration: that of its file, or `run` without a file or with a pipe."""
        return Path(self.path).stem if self.path is not None and self.is_file else UNNAMED

    @functools.cached_property
    def is_file(self) -> bool:
        """Whether the configuration can be read again, under the same path."""
        return self.path is not None and Path(self.path).is_file()

    @functools.cached_property
    def parsed(self) -> tuple[Config | None, list[Problem]]:
        """The usable part of the configuration, and every mistake in it; see `parse`."""
        return parse(self.values)

    def checked(self) -> Config:
        """The configuration. Raises ConfigError with all mistakes that can be found without data or a network."""
        config, mistakes = self.parsed
        if config is None or mistakes:
            with self.locating_mistakes():
                raise ConfigError(*mistakes)
        return config

    def with_overrides(self, overrides: Mapping[str, Any]) -> Document:
        """The same configuration with more values set. Raises ConfigError as `override` does."""
        if not overrides:
            return self
        values = override(self.values, overrides)
        return Document(values, path=self.path, text=self._text, replaced=[*self.replaced, *overrides])

    @contextlib.contextmanager
    def locating_mistakes(self) -> Iterator[None]:
        """Add the lines of the file to the problems of errors that the block raises."""
        try:
            yield
        except (ConfigError, DataError) as error:
            if self.path is None:
                raise
            raise type(error)(*with_lines(error.problems, self.path, self._lines, self.replaced)) from None

    @functools.cached_property
    def _lines(self) -> Mapping[str, int]:
        return find_lines(self._text)


AnyConfiguration = str | Path | Mapping[str, Any] | Document  # a file's path, its content, or what was read from it


def read_configuration(config: AnyConfiguration, overrides: Mapping[str, Any] | None = None) -> Document:
    """A configuration from the path of its file, or from the content of such a file, with values for dotted keys.

    Raises:
        ConfigError: the file or the object is not JSON, or a key of the overrides cannot be set.
        DataError: the file cannot be read.
    """
    if isinstance(config, Document):
        return config.with_overrides(overrides or {})
    if isinstance(config, str | Path):
        content = read_file(config)
        values = decode(content, str(config))
        document = Document(values, path=str(config), text=content.decode("utf-8-sig"))
    else:
        document = Document(config)
    return Document(
        override(document.values, overrides or {}),
        path=document.path,
        text=document._text,
        replaced=list(overrides or ()),
    )


def make_portable(config: Config) -> dict[str, Any]:
    """The keys given in a configuration, with absolute paths: it means the same on all machines that have its files.

    Raises:
        DataError, ConfigError: the network's file, which is replaced by its content, cannot be read.
    """
    values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    layers = config.neural_network.layers
    if isinstance(layers, str) and not storage.is_uri(layers):
        values["neural_network"]["layers"] = read_network_file(layers)
    return values


def override(raw: Any, overrides: Mapping[str, Any]) -> Any:
    """A copy of the file's object in which each dotted key has the given value.

    Keys are relative to `neural_network`, except those that begin with `ray.` or `neural_network.`.

    Raises:
        ConfigError: the file's object is not JSON, or the parent of a key is not an object.
    """
    if mistakes := find_unusable(raw):
        raise ConfigError(*mistakes)
    raw = json.loads(json.dumps(raw))
    for key, value in overrides.items():
        parts = key.split(".")
        if parts[0] not in ("neural_network", "ray"):
            parts.insert(0, "neural_network")
        place = raw
        for depth, part in enumerate(parts):
            if not isinstance(place, dict):
                raise ConfigError(Problem(".".join(parts[:depth]), f"is not an object, so '{key}' cannot be set in it"))
            if depth == len(parts) - 1:
                place[part] = value
            else:
                place = place.setdefault(part, {})
    return raw


def parse(raw: Any) -> tuple[Config | None, list[Problem]]:
    """The configuration in a file's object, and every mistake found in it.

    If there are mistakes, the faulty values are left out of the configuration, so that the rest can be checked too; it
    is None if too little remains.
    """
    mistakes = find_unusable(raw)
    if not isinstance(raw, Mapping):
        return None, [Problem("configuration", "expected an object with the key 'neural_network'")]
    if not mistakes:
        searched, wrong = search_spaces.find_spaces(raw)
        mistakes = [Problem(space.where, "is a search space: use `rayrml tune`") for space in searched] + wrong
    if mistakes:
        return None, mistakes
    values = dict(raw)
    # A rule for several keys is only checked once each of them is valid, so mistakes can appear in rounds.
    for _round in range(4):
        try:
            return Config.model_validate_json(json.dumps(values)), mistakes
        except pydantic.ValidationError as error:
            mistakes += [p for p in list_problems(error, Config, values, "") if p not in mistakes]
            values = _without(values, error)
    return None, mistakes


def parse_ray(overrides: Mapping[str, Any]) -> Ray:
    """The section `ray` of a configuration that consists only of the overrides.

    Raises:
        ConfigError: mistakes in it, or in the keys of the overrides.
    """
    section = override({}, overrides).get("ray", {})
    try:
        return Ray.model_validate_json(json.dumps(section))
    except pydantic.ValidationError as error:
        raise ConfigError(*list_problems(error, Ray, section, "ray")) from None


def _without(values: dict[str, Any], error: pydantic.ValidationError) -> dict[str, Any]:
    values = json.loads(json.dumps(values))
    for item in error.errors(include_url=False):
        place: Any = values
        *outer, last = item["loc"] or ("",)
        for part in outer:
            inner = place.get(part)
            if not isinstance(inner, dict):
                last = part  # what follows is a list's index or a union's member
                break
            place = inner
        place.pop(last, None)
    return values
