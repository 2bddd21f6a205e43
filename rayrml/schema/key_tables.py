"""Tables of keys, generated from the sections' models and the signatures of the tables' rows."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from rayrml.config.optimization import OptimizerOptions
from rayrml.config.sections import Config, PathString, RowOf, Section
from rayrml.config.tables import Table, make_model
from rayrml.data.transforms import TRANSFORMS
from rayrml.data.transforms.table import find_bare_field
from rayrml.formatting import format_table
from rayrml.optimizers import OPTIMIZERS
from rayrml.schema.catalog import TABLES, meaning

HEADINGS = ("key", "type", "default", "range", "meaning")
_LIMITS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def list_tables() -> dict[str, list[str]]:
    """The lines of the table of keys of each section, and of each row of each table of rows, by their names."""
    models = {path.rpartition(".")[2]: model for path, model in sections(Config, "")}
    of_models = {name: [meaning(model), "", *_table(model)] for name, model in models.items()}
    return of_models | {name: list(_of_rows(rows)) for name, rows in TABLES.items()}


def list_section_keys() -> dict[str, list[str]]:
    """All keys of each section, in every spelling, by the dotted path of the section."""
    return {
        path: [key for name, field in model.model_fields.items() for key in spellings(name, field)]
        for path, model in sections(Config, "")
    }


def list_row_keys() -> dict[str, dict[str, list[str]]]:
    """The keys of each row of each table."""
    return {
        name: {row: list(make_model(builder, _options(rows)).model_fields) for row, builder in rows.items()}
        for name, rows in TABLES.items()
    }


def _of_rows(rows: Table) -> Iterator[str]:
    for number, (name, row) in enumerate(rows.items()):
        yield from ([""] if number else [])
        yield f"{name}: {meaning(row)}"
        model, bare = make_model(row), find_bare_field(row) if rows is TRANSFORMS else None
        yield from (f"    {line}" for line in (_table(model, bare) if model.model_fields else ["no keys"]))

    if (options := _options(rows)) is not None:
        yield from ("", meaning(options), *(f"    {line}" for line in _table(options)))


def _options(rows: Table) -> type[Section] | None:
    """The keys that all rows of a table have, None if there are none."""
    return OptimizerOptions if rows is OPTIMIZERS else None


def _table(model: type[BaseModel], bare: str | None = None) -> list[str]:
    """The lines of the table of a model's keys, without empty columns.

    The value of the key `bare` is written without an object around it.
    """
    schemas = key_schemas(model)
    rows = [_key(name, field, schemas) for name, field in model.model_fields.items()]
    rows = [("(no key)" if row[0] == bare else row[0], *row[1:]) for row in rows]
    columns = [c for c in range(len(HEADINGS)) if any(row[c] for row in rows)]
    # The empty last column keeps all others left-aligned.
    cells = [[*(row[c].replace("`", "") for c in columns), ""] for row in rows]
    return [line.rstrip() for line in format_table(cells, [*(HEADINGS[c] for c in columns), ""])]


def key_schemas(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of each key of a model, by its usual spelling; a key that names a row of a table lists them."""
    schemas = model.model_json_schema().get("properties", {})
    for name, field in model.model_fields.items():
        if rows := rows_named(field):
            key = spellings(name, field)[0]
            kinds = [{"enum": rows} if kind == {"type": "string"} else kind for kind in schemas[key]["anyOf"]]
            schemas[key] = {**schemas[key], "anyOf": kinds}
    return schemas


def rows_named(field: FieldInfo) -> list[str]:
    """The rows of the table that a field refers to, [] if it refers to none."""
    inner = (meta for part in typing.get_args(field.annotation) for meta in getattr(part, "__metadata__", ()))
    return [row for mark in (*field.metadata, *inner) if isinstance(mark, RowOf) for row in TABLES[mark.table]]


def _key(name: str, field: FieldInfo, schemas: Mapping[str, Any]) -> tuple[str, ...]:
    shown = spellings(name, field)
    schema = schemas[shown[0]]
    kind = allowed(unlimited(schema))
    if PathString in typing.get_args(field.annotation):
        kind = re.sub(r"\bstring\b", "path", kind)
    return " or ".join(shown), kind, default(field), limits(schema), field.description or ""


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The JSON path and the model of each section below `model`, in order."""
    for key, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            where = f"{path}.{key}".lstrip(".")
            yield where, inner
            yield from sections(inner, where)


def section_of(annotation: Any) -> type[Section] | None:
    """The section's model in an annotation such as `Stopping | None`, None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, typing.get_args(annotation))), None)


def spellings(name: str, field: FieldInfo) -> list[str]:
    """All JSON keys of a field, the usual one first."""
    alias = field.validation_alias
    return [str(c) for c in alias.choices] if isinstance(alias, AliasChoices) else [str(alias or name)]


def default(field: FieldInfo) -> str:
    """A field's default, in words if it is not a plain value."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its keys' defaults"
    return "none" if value is None else f"`{as_json(value)}`"


def allowed(schema: Mapping[str, Any]) -> str:
    """The values that a JSON Schema allows, in words; null is not mentioned."""
    words = list(dict.fromkeys(alternatives(schema))) or ["null"]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def alternatives(schema: Mapping[str, Any]) -> list[str]:
    """Each kind of value that a JSON Schema allows, in words."""
    if "anyOf" in schema:
        return [words for choice in schema["anyOf"] for words in alternatives(choice)]
    if "enum" in schema or "const" in schema:
        return [f"`{as_json(value)}`" for value in schema.get("enum", [schema.get("const")])]
    if "$ref" in schema:
        return ["object"]
    kind = schema.get("type", "any value")
    if kind == "array":
        return [list_of(schema)]
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return [f"object of {plural(allowed(schema['additionalProperties']))}"]
    return {"boolean": ["`true`", "`false`"], "null": []}.get(kind, [f"{kind}{interval(schema)}"])


def list_of(schema: Mapping[str, Any]) -> str:
    """A list and its items: `list of 2 numbers from 0 to 1`."""
    items = list(dict.fromkeys(allowed(item) for item in schema.get("prefixItems", [schema.get("items")]) if item))
    if len(items) != 1:
        return f"list: {', '.join(items)}" if items else "list"
    size = f"{schema['maxItems']} " if "maxItems" in schema else ""
    return f"list of {size}{plural(items[0])}"


def plural(words: str) -> str:
    """`number > 0` as `numbers > 0`."""
    return re.sub(r"\b(number|integer|string|list|object)\b", r"\1s", words, count=1)


def interval(schema: Mapping[str, Any]) -> str:
    """The range of a number: ` > 0`, ` from 0 to 1`."""
    if "minimum" in schema and "maximum" in schema:
        return f" from {as_json(schema['minimum'])} to {as_json(schema['maximum'])}"
    found = [f"{sign} {as_json(schema[key])}" for key, sign in _LIMITS.items() if key in schema]
    return f" {' and '.join(found)}" if found else ""


def limits(schema: Mapping[str, Any]) -> str:
    """The ranges of all numbers that a JSON Schema allows, each once."""
    inner = [part for key in ("anyOf", "prefixItems") for part in schema.get(key, ())]
    inner += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), Mapping)]
    return "; ".join(dict.fromkeys(filter(None, [interval(schema).strip(), *map(limits, inner)])))


def unlimited(schema: Any) -> Any:
    """The JSON Schema without the ranges of its numbers."""
    if isinstance(schema, list):
        return [unlimited(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: unlimited(part) for key, part in schema.items() if key not in _LIMITS}


def as_json(value: Any) -> str:
    """A value as JSON, with numbers of a readable length."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_json, value))}]"
    return f"{value:.5g}" if isinstance(value, float) else json.dumps(value)
