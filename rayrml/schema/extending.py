"""The JSON Schema of a configuration that extends another one: any part of a configuration, whose rest is elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Schema = dict[str, Any]

_EXTENDS: Schema = {"required": ["extends"], "properties": {"extends": {"not": {"type": "null"}}}}
_OF_AN_OBJECT = ("type", "description", "properties", "required", "additionalProperties", "allOf")
_REFERENCE = "#/$defs/"


def name_part(name: str) -> str:
    """The name of the schema for a part of what the schema `name` describes."""
    return f"{name}_part"


def allow_extending(whole: Schema, merged: Collection[str]) -> Schema:
    """The schema of a configuration that is complete, or extends another one.

    Args:
        whole: the schema of a complete configuration.
        merged: names of the schemas in its `$defs` whose objects are merged with those of the other configuration.
    """
    strict = {key: whole[key] for key in _OF_AN_OBJECT if key in whole}
    rest = {key: value for key, value in whole.items() if key not in strict}
    parts = {name_part(name): _part(whole["$defs"][name], merged) for name in merged}
    described = {
        key: {k: v for k, v in value.items() if k == "description"} for key, value in strict["properties"].items()
    }
    choices = {"properties": described, "if": _EXTENDS, "then": _part(strict, merged), "else": strict}
    return rest | choices | {"$defs": whole["$defs"] | parts}


def _part(schema: Any, merged: Collection[str]) -> Any:
    """The schema without what requires keys or follows from several keys; lists are complete."""
    if isinstance(schema, list):
        return [_part(inner, merged) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: _part(inner, merged) for name, inner in value.items()}
        elif key == "$ref":
            name = value.removeprefix(_REFERENCE)
            found[key] = f"{_REFERENCE}{name_part(name)}" if name in merged else value
        elif key == "oneOf":  # keys without the one that tells rows apart may be those of several
            found["anyOf"] = _part(value, merged)
        elif key == "items":
            found[key] = value
        elif key not in ("required", "allOf"):
            found[key] = _part(value, merged)
    return found
