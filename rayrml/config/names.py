"""Names that people type: the one that is meant, in any case, or what to say of an unknown one.

The command line needs this at once, so nothing slow is imported here.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rayrml.config.json_files import format_value
from rayrml.errors import ConfigError, Problem


def find(table: Collection[str], name: Any, path: str) -> str:
    """The table's own spelling of `name`, ignoring case.

    Raises:
        ConfigError: there is no such row; suggests the nearest one.
    """
    rows = {row.casefold(): row for row in table}
    if isinstance(name, str) and name.casefold() in rows:
        return rows[name.casefold()]
    raise ConfigError(Problem(path, f"unknown name {format_value(name)}. {suggest(str(name), table)}"))


def find_row(table: Collection[str], section: Mapping[str, Any], path: str, key: str) -> str:
    """The row of `table` that `section[key]` names. Raises ConfigError if the key is missing, or names no row."""
    if key not in section:
        raise ConfigError(Problem(path, f"'{key}' is missing. Expected one of {', '.join(table)}"))
    return find(table, section[key], f"{path}.{key}")


def describe_unknown(key: str, allowed: Iterable[str], takes: str = "Expected one of") -> str:
    """What is wrong with a key that is not one of those `allowed`."""
    return f"unknown key. {suggest(key, allowed, takes)}"


def suggest(name: str, allowed: Iterable[str], takes: str = "Expected one of") -> str:
    """`Did you mean 'x'?` if a name is similar, else the list of what is allowed."""
    by_case = {a.casefold(): a for a in allowed}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{by_case[near[0]]}'?"
    return f"{takes} {', '.join(sorted(by_case.values()))}" if by_case else f"{takes} no other keys"
