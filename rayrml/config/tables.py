"""Tables of builders: a JSON name chooses a row, and the row's keyword-only signature is the schema of its arguments.

A table is a plain dict, JSON name -> builder. The program passes a builder's positional arguments (an input shape, the
parameters to optimize); its keyword arguments come from the JSON, and their annotations and defaults say which values
are allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pydantic

from rayrml.config.json_files import format_value
from rayrml.config.names import describe_unknown, find_row
from rayrml.errors import ConfigError, Problem

Table = Mapping[str, Callable[..., Any]]

Options = TypeVar("Options", bound=pydantic.BaseModel)

_MOST_PROBLEMS = 50
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A table's row with its validated arguments, ready to be built, here or on a worker that it is sent to."""

    name: str
    builder: Callable[..., Any]
    arguments: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments of the row: those from the JSON, and the defaults of the others."""
        fields = make_model(self.builder).model_fields
        return {name: self.arguments.get(name, field.default) for name, field in fields.items()}

    def build(self, *inputs: Any) -> Any:
        """Call the builder with the program's `inputs` and the arguments from the JSON."""
        return self.builder(*inputs, **self.arguments)


def choose(table: Table, section: Mapping[str, Any], path: str, key: str = "type") -> Choice:
    """The row of `table` that `section[key]` names, with the section's other keys as its arguments.

    Raises:
        ConfigError: every mistake in the section, each with its JSON path below `path`.
    """
    name = find_row(table, section, path, key)
    arguments = {k: v for k, v in section.items() if k != key}
    return Choice(name, table[name], validate(make_model(table[name]), arguments, path, f"{name} takes"))


def choose_with(
    table: Table, section: Mapping[str, Any], path: str, *, options: type[Options]
) -> tuple[Choice, Options]:
    """The row that `section["type"]` names, with its own keys as arguments, and the keys that all rows have.

    Raises:
        ConfigError: every mistake in the section, each with its JSON path below `path`.
    """
    name = find_row(table, section, path, "type")
    row, arguments = table[name], {k: v for k, v in section.items() if k != "type"}
    values = validate(make_model(row, options), arguments, path, f"{name} takes")
    common = {k: values.pop(k) for k in options.model_fields if k in values}
    return Choice(name, row, values), options(**common)


def validate(model: type[pydantic.BaseModel], values: Mapping[str, Any], path: str, takes: str) -> dict[str, Any]:
    """The arguments in `values`, checked against `model`, without defaults.

    Raises:
        ConfigError: every mistake, each with its JSON path below `path`; `takes` introduces the list of known keys.
    """
    try:
        # JSON's rules (a list is a tuple, but "64" is not a number) apply only to JSON text.
        checked = model.model_validate_json(json.dumps(values))
    except pydantic.ValidationError as error:
        raise ConfigError(*list_problems(error, model, values, path, takes=takes)) from None
    return {name: getattr(checked, name) for name in checked.model_fields_set}


@functools.cache
def make_model(
    builder: Callable[..., Any], options: type[pydantic.BaseModel] | None = None
) -> type[pydantic.BaseModel]:
    """A pydantic model whose fields are the keyword-only parameters of the builder, and then those of `options`."""
    if options is not None:
        row = make_model(builder)
        return pydantic.create_model(row.__name__, __base__=(options, row), __doc__=row.__doc__)
    row = unwrap(builder)
    hints = typing.get_type_hints(row.__init__ if isinstance(row, type) else row, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is p.empty else p.default)
        for p in inspect.signature(builder).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    name = getattr(row, "__name__", type(row).__name__)
    return pydantic.create_model(name, __config__=_STRICT, __doc__=row.__doc__, **fields)


def unwrap(builder: Callable[..., Any]) -> Callable[..., Any]:
    """The function or class of a row, without the arguments that the table binds to it."""
    return builder.func if isinstance(builder, functools.partial) else builder


def list_problems(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    values: Any,
    path: str,
    *,
    takes: str = "Expected one of",
) -> list[Problem]:
    """Pydantic's errors as one `Problem` per place, with what is expected there."""
    messages_by_place: dict[str, list[str]] = {}
    judged: set[str] = set()
    # If a value has the right type for one alternative but is wrong, errors about the other types would only mislead.
    for item in sorted(error.errors(include_url=False), key=lambda item: item["type"] != "value_error"):
        loc = _json_location(item["loc"], values, item["type"])
        keys = [str(key) or "''" for key in loc]
        where = ".".join([path, *keys] if path else keys)
        if item["type"] == "value_error":
            judged.add(where)
        elif where in judged:
            continue
        messages_by_place.setdefault(where, []).append(_message(item, model, loc, takes))
    # Likewise if a value has the right type for one alternative, but something in it is wrong.
    judged = {where[:end] for where in messages_by_place for end, sign in enumerate(where) if sign == "."}
    listed = [
        Problem(where, " or ".join(dict.fromkeys(messages)))
        for where, messages in messages_by_place.items()
        if where not in judged
    ]
    if len(listed) <= _MOST_PROBLEMS:
        return listed
    # Long lists in which everything is wrong.
    more = f"and {len(listed) - _MOST_PROBLEMS} more mistakes of this kind"
    return [*listed[:_MOST_PROBLEMS], Problem(listed[_MOST_PROBLEMS].where, more)]


def _json_location(loc: tuple[int | str, ...], values: Any, kind: str) -> list[int | str]:
    """`loc` without the names of union members that pydantic inserts between and after the JSON's keys."""
    kept: list[int | str] = []
    place: Any = values
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if _holds(place, part):
            place = place[part]
        elif not (last and kind == "missing"):
            continue
        kept.append(part)
    return kept


def _holds(place: Any, part: int | str) -> bool:
    if isinstance(place, list | tuple):
        return isinstance(part, int) and part < len(place)
    return isinstance(place, Mapping) and part in place


def _message(item: Any, model: type[pydantic.BaseModel], loc: list[int | str], takes: str) -> str:
    if item["type"] == "extra_forbidden":
        owner = _owner(model, loc[:-1])
        names = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        return describe_unknown(str(loc[-1]), names, takes)
    if item["type"] == "missing":
        return "this key is missing and has no default"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    message = (
        message.replace("a valid dictionary", "an object")
        .replace("a valid tuple", "a list")
        .replace("a valid array", "a list")
    )
    if item["type"] == "value_error":
        return message
    if item["type"] == "too_short":
        message = f"a list of at least {item['ctx']['min_length']}"
    return f"must be {message}, got {format_value(item['input'])}"


def _owner(model: type[pydantic.BaseModel], loc: list[int | str]) -> type[pydantic.BaseModel] | None:
    """The model that contains the place `loc`, found through fields that are models themselves."""
    owner: Any = model
    for part in loc:
        field = owner.model_fields.get(part) if part in getattr(owner, "model_fields", {}) else None
        candidates = (field.annotation, *typing.get_args(field.annotation)) if field else ()
        owner = next((c for c in candidates if isinstance(c, type) and issubclass(c, pydantic.BaseModel)), None)
        if owner is None:
            return None
    return owner
