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
from rayrml.config.cluster import Ray
from rayrml.config.comment_keys import take_out_comments
from rayrml.config.json_files import find_unusable
from rayrml.config.line_numbers import dotted, is_replaced, with_lines
from rayrml.config.misplaced_paths import with_hint
from rayrml.config.network_files import read_network_file
from rayrml.config.sections import Config
from rayrml.config.sources import Source, find_line, find_origin, list_paths, read_merged, refuse_unusable
from rayrml.config.tables import list_problems
from rayrml.errors import ConfigError, DataError, Problem

UNNAMED = "run"  # what a configuration without a file is called


class Document:
    """A configuration as it was given.

    Attributes:
        values: the JSON, with the overrides applied, merged with what it extends.
        path: the file, None for a configuration that was given as an object.
        replaced: the dotted keys of the overrides.
        mistakes: what was found wrong when it was read, and can be mended by overrides.
    """

    def __init__(
        self,
        values: Any,
        *,
        path: str | None = None,
        sources: Sequence[Source] = (),
        replaced: Sequence[str] = (),
        mistakes: Sequence[Problem] = (),
    ):
        self.values = values
        self.path = path
        self.replaced = tuple(replaced)
        self.mistakes = [problem for problem in mistakes if not is_replaced(problem.where, replaced)]
        self._sources = sources

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
        config, mistakes = parse(self.values)
        return (None, self.mistakes + mistakes) if self.mistakes else (config, mistakes)

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
        replaced = [*self.replaced, *overrides]
        return Document(values, path=self.path, sources=self._sources, replaced=replaced, mistakes=self.mistakes)

    @contextlib.contextmanager
    def locating_mistakes(self) -> Iterator[None]:
        """Add the files and lines to the problems of errors that the block raises, and hints at misplaced paths."""
        try:
            yield
        except (ConfigError, DataError) as error:
            if not self._sources:
                raise
            problems = map(self._with_hint, error.problems)
            raise type(error)(*with_lines(problems, self._locate, self.replaced)) from None

    def _locate(self, place: str) -> str | None:
        return find_line(self._sources, place, self._present)

    def _with_hint(self, problem: Problem) -> Problem:
        place = dotted(problem.where)
        origin = find_origin(self._sources, place, self._present)
        if origin is None or is_replaced(place, self.replaced):
            return problem
        return with_hint(problem, self.values, origin[0].folder)

    @functools.cached_property
    def _present(self) -> frozenset[str] | None:
        """The paths of all values, if they are from several files."""
        return frozenset(list_paths(self.values)) if len(self._sources) > 1 else None


AnyConfiguration = str | Path | Mapping[str, Any] | Document  # a file's path, its content, or what was read from it


def read_configuration(config: AnyConfiguration, overrides: Mapping[str, Any] | None = None) -> Document:
    """A configuration from the path of its file, or from the content of such a file, with values for dotted keys.

    The files that it extends are merged into it, and the variables in files are replaced.

    Raises:
        ConfigError: a file or the object is not JSON, or a key of the overrides cannot be set.
        DataError: a file cannot be read.
    """
    if isinstance(config, Document):
        return config.with_overrides(overrides or {})
    values, sources, mistakes = read_merged(config)
    path = str(config) if isinstance(config, str | Path) else None
    replaced = list(overrides or ())
    values = override(values, overrides or {})
    return Document(values, path=path, sources=sources, replaced=replaced, mistakes=mistakes)


def make_portable(config: Config) -> dict[str, Any]:
    """The keys given in a configuration, with absolute paths: it means the same on all machines that have its files.

    Raises:
        DataError, ConfigError: the network's file, which is replaced by its content, cannot be read.
    """
    values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for section, layers, _ in list_network_files(config, values):
        if not storage.is_uri(layers):
            section["layers"] = read_network_file(layers)
    return values


def list_network_files(config: Config, values: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each section of a configuration's `values` that names a file of a network, with that path and its JSON path."""
    nn, section = config.neural_network, values["neural_network"]
    sections = {"neural_network": (section, nn.layers)}
    if nn.critic is not None:
        sections["neural_network.critic"] = (section["critic"], nn.critic.layers)
    for where, (part, layers) in sections.items():
        if isinstance(layers, str):
            yield part, layers, f"{where}.layers"


def override(raw: Any, overrides: Mapping[str, Any]) -> Any:
    """A copy of the file's object in which each dotted key has the given value.

    Keys are relative to `neural_network`, except those that begin with `ray.` or `neural_network.`.

    Raises:
        ConfigError: the file's object is not JSON, or the parent of a key is not an object.
    """
    refuse_unusable(raw)
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
    values, mistakes = take_out_comments(dict(raw))
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
