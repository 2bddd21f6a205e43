"""The JSON Schema of a configuration, generated from the sections' models and the signatures of the tables' rows.

It rejects what the program rejects, as far as that follows from one key or from several keys together; what depends on
files, on the network or on two numbers together is left to the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from rayrml.config import figures
from rayrml.config.cluster import Ray
from rayrml.config.named_networks import KEY
from rayrml.config.optimization import OptimizerOptions
from rayrml.config.search_spaces import KINDS
from rayrml.config.sections import AnyCase, Config, Data, Section
from rayrml.config.tables import Table, make_model
from rayrml.data.reader_keys import NO_FILES, SAMPLES
from rayrml.data.readers import READERS
from rayrml.data.slicers import slicer
from rayrml.data.transforms import TRANSFORMS
from rayrml.data.transforms.table import find_bare_field
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS
from rayrml.metrics import METRICS
from rayrml.networks.families import NETWORKS
from rayrml.optimizers import OPTIMIZERS
from rayrml.schema.catalog import meaning
from rayrml.schema.conditions import NULL, Schema, any_case, in_any_case
from rayrml.schema.extending import allow_extending, name_part
from rayrml.schema.key_rules import KEYS_OF_TYPES, RULES
from rayrml.schema.key_tables import rows_named, section_of, spellings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration() -> Schema:
    """The schema of a whole configuration, in the 2020-12 dialect."""
    whole = _section(Config)
    sections = {model.__name__: _section(model) for model in _sections(Config)}
    whole["$defs"] = sections | {
        "optimizer": _choice(OPTIMIZERS, "type", _section(OptimizerOptions)["properties"]),
        "lr_scheduler": _schedule(),
        "loss": _choice(LOSSES, "function"),
        "network": _choice(NETWORKS, KEY),
        "transform": _transform(),
        "slicer": _row(slicer),
    }
    whole = allow_extending(whole, [*sections, "optimizer", "lr_scheduler", "loss"])
    return {"$schema": _DIALECT, "title": "A rayrml configuration", **whole}


def search() -> Schema:
    """The schema of a configuration for `rayrml tune`: any value of the network may be a search space."""
    whole = configuration()
    defs = whole["$defs"]
    closed = (Ray.__name__, name_part(Ray.__name__))
    whole["$defs"] = {name: part if name in closed else _open(part) for name, part in defs.items()}
    two = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    kinds = {"choice": {"type": "array", "minItems": 1}, **{name: two for name in KINDS if name != "choice"}}
    whole["$defs"]["space"] = {
        "description": "a value to search for",
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {name: kinds[name] | {"description": meaning} for name, meaning in KINDS.items()},
    }
    return whole


def _open(part: Schema) -> Schema:
    """The schema with search spaces allowed for values of objects and for members of lists in them."""
    found = dict(part)
    if "properties" in found:
        found["properties"] = {key: _or_space(value) for key, value in found["properties"].items()}
    if isinstance(found.get("additionalProperties"), Mapping):
        found["additionalProperties"] = _or_space(found["additionalProperties"])
    # An object whose row is a search space matches several of them.
    several = found.pop("oneOf", found.get("anyOf"))
    return found if several is None else found | {"anyOf": [_open(one) for one in several]}


def _or_space(value: Schema) -> Schema:
    items = {"items": _or_space(value["items"])} if "items" in value else {}
    return {"anyOf": [{**_open(value), **items}, _ref("space")]}


def _sections(model: type[Section]) -> Iterable[type[Section]]:
    for field in model.model_fields.values():
        inner = section_of(field.annotation)
        if inner is not None:
            yield inner
            yield from _sections(inner)


def _section(model: type[Section]) -> Schema:
    """The schema of a section: that of its model, plus what the tables and the rules between keys add."""
    found = _plain(model.model_json_schema())
    properties = found["properties"]
    for name, field in model.model_fields.items():
        key, *others = spellings(name, field)
        said = {k: properties[key][k] for k in ("description", "default") if k in properties[key]}
        if key in _VALUES.get(model.__name__, {}):
            properties[key] = _VALUES[model.__name__][key] | said
        elif rows := rows_named(field):
            properties[key] = _optional(any_case(rows)) | said
        elif AnyCase in field.metadata:
            properties[key] = any_case(properties[key]["enum"]) | said
        elif enum := _find_enum_in_any_case(field, properties[key]):
            properties[key] = _optional(any_case(enum)) | said
        for other in others:
            properties[other] = properties[key]
    kept = {k: found[k] for k in ("type", "properties", "required", "additionalProperties") if k in found}
    rules = RULES.get(model.__name__, [])
    return {"description": found["description"].split("\n")[0], **kept, **({"allOf": rules} if rules else {})}


def _find_enum_in_any_case(field: FieldInfo, found: Schema) -> list[str] | None:
    """The names that an optional key takes in upper and lower case, None for other keys."""
    if not any(AnyCase in getattr(part, "__metadata__", ()) for part in get_args(field.annotation)):
        return None
    return next((part["enum"] for part in found["anyOf"] if "enum" in part), None)


def _plain(schema: Any) -> Any:
    """A pydantic schema without titles that repeat the keys, and without whole objects as defaults."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    noise = {k for k, v in schema.items() if (k == "title" and isinstance(v, str)) or k == "$defs"}
    noise |= {k for k, v in schema.items() if k == "default" and isinstance(v, Mapping) and "$ref" in schema}
    return {k: _plain(v) for k, v in schema.items() if k not in noise}


def _row(row: Callable[..., Any]) -> Schema:
    """The schema of a row's arguments."""
    found = make_model(row).model_json_schema()
    return _plain(_inline(found, found.get("$defs", {}))) | {"description": meaning(row)}


def _inline(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    """The schema with the definitions in the place of references to them: a row becomes a part of a larger schema."""
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline(part, definitions) for key, part in schema.items()}


def _choice(table: Table, key: str, more: Mapping[str, Schema] | None = None) -> Schema:
    """An object that names a row of the table under `key`; all rows also accept the keys `more`."""
    rows = [_named(name, row, key, more or {}) for name, row in table.items()]
    return {"type": "object", "required": [key], "properties": {key: any_case(table)}, "oneOf": rows}


def _named(name: str, row: Callable[..., Any], key: str, more: Mapping[str, Schema]) -> Schema:
    found = _row(row)
    found["properties"] = {key: any_case([name]), **found.get("properties", {}), **more}
    return found | {"required": [key, *found.get("required", [])]}


def _schedule() -> Schema:
    one = _choice(LR_SCHEDULERS, "type")
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _transform() -> Schema:
    """An object with one key, which names a transform."""
    places = {in_any_case(name): _ref(f"transform/properties/{name}") for name in TRANSFORMS}
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {name: _transform_value(row) for name, row in TRANSFORMS.items()},
        "patternProperties": {f"^{pattern}$": place for pattern, place in places.items()},
    }


def _transform_value(row: Callable[..., Any]) -> Schema:
    """A bare value, or an object with the row's keys."""
    bare, found = find_bare_field(row), _row(row)
    return found if bare is None else found["properties"][bare] | {"description": meaning(row)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _other_object(key: str) -> Schema:
    """An object without the key."""
    return {"type": "object", "not": {"required": [key]}}


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _type_key(key: str) -> Schema:
    """The allowed values of a key for a data type."""
    return _optional(any_case(READERS if key == "input_type" else [*READERS, *NO_FILES]))


def _key_of_types(key: str) -> Schema:
    """The allowed values of a key that only some data types have, from the first of these."""
    rows = [_plain(make_model(row).model_json_schema())["properties"] for row in READERS.values()]
    found = next(properties[key] for properties in rows if key in properties)
    return _optional(any_case(found["enum"]) if "enum" in found else found)


# Values that the models leave to the tables.
_VALUES: dict[str, dict[str, Schema]] = {
    "NeuralNetwork": {
        "layers": {"anyOf": [{"type": "string"}, {"type": "array"}, _ref("network"), _other_object(KEY)]},
        "optimizer": _optional(_ref("optimizer")),
        "loss": _optional(_ref("loss")),
    },
    "Critic": {
        "layers": {"anyOf": [{"type": "string"}, {"type": "array"}, _other_object(KEY)]},
        "optimizer": _optional(_ref("optimizer")),
    },
    "OptimizerOptions": {"lr_scheduler": _optional(_ref("lr_scheduler"))},
    "Stopping": {"metric": {"enum": [*figures.LOSSES, *METRICS]}},
    "Data": {
        **{key: _type_key(key) for key in ("type", "input_type", "target_type")},
        **{key: _list_of("transform") for key in ("transforms", "input_transforms", "target_transforms")},
        "slicers": _list_of("slicer"),
        **{key: _key_of_types(key) for key in (*KEYS_OF_TYPES, SAMPLES) if key in Data.model_fields},
    },
}
