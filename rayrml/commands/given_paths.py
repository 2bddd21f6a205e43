"""Paths that are typed as arguments."""

from __future__ import annotations

from rayrml import storage
from rayrml.errors import ConfigError, Problem


def absolute_paths(**given: str) -> list[str]:
    """Absolute paths, or URIs of object stores, for arguments by their names.

    Raises:
        ConfigError: one is a URI of a kind that is not supported.
    """
    paths: list[str] = []
    for name, path in given.items():
        try:
            paths.append(storage.absolute(path))
        except ValueError as error:
            raise ConfigError(Problem(name, str(error))) from None
    return paths
