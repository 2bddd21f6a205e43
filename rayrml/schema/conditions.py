"""Conditions of JSON Schema on the keys of an object."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rayrml.config.sections import Section

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}


def any_case(names: Iterable[str]) -> Schema:
    """One of the names: the enum lists the usual spellings, the pattern accepts them in any case."""
    listed = list(names)
    pattern = "|".join(map(in_any_case, listed))
    return {"type": "string", "anyOf": [{"enum": listed}, {"pattern": f"^(?:{pattern})$"}]}


def in_any_case(name: str) -> str:
    """A regular expression for a name in upper and lower case."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else re.escape(c) for c in name)


def has(key: str, value: Schema) -> Schema:
    """An object that has the key, with such a value."""
    return {"required": [key], "properties": {key: value}}


def given(*keys: str) -> Schema:
    """An object that has at least one of the keys, with a value other than null."""
    return {"anyOf": [has(key, {"not": NULL}) for key in keys]}


def filled(*keys: str) -> Schema:
    """An object that has at least one of the lists, not empty."""
    return {"anyOf": [has(key, {"minItems": 1}) for key in keys]}


def rule(condition: Schema, then: Schema) -> Schema:
    """Objects that meet the condition must meet another one."""
    return {"if": condition, "then": then}


def differs(model: type[Section], *keys: str) -> Schema:
    """An object in which at least one of the keys has another value than by default."""
    return {"anyOf": [has(key, {"not": {"const": model.model_fields[key].default}}) for key in keys]}
