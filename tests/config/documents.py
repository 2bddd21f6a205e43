"""Random documents, and the same document in several formats."""

import json
import re

import yaml
from hypothesis import strategies

_CHARACTERS = strategies.characters(
    exclude_categories=["Cs", "Cc", "Cn", "Co", "Zl", "Zp"], exclude_characters="\ufeff"
)
_TRAPS = ["//", "#", "/* */", ",]", "1e-3", "no", "on", "<<", "2024-01-01", "~", "null", "010", "$${a}", "'", '"']
TEXTS = strategies.text(_CHARACTERS, max_size=8) | strategies.sampled_from(_TRAPS)
NUMBERS = strategies.integers(-(2**63), 2**63 - 1) | strategies.floats(allow_nan=False, allow_infinity=False)
SCALARS = TEXTS | NUMBERS | strategies.booleans()


def documents(scalars=SCALARS):
    """Objects of lists, objects and scalars."""
    values = strategies.recursive(
        scalars, lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(TEXTS, inner, max_size=3)
    )
    return strategies.dictionaries(TEXTS, values, max_size=4)


def same(value, other):
    """Whether two values are the same, and of the same types: True is not 1, and 1.0 is not 1."""
    return json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


class _Quoted(yaml.SafeDumper):
    """Quotes all strings: by itself it would leave out the quotes that only YAML 1.1 does without, as in `1e-3`."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def as_yaml(value, **options):
    return yaml.dump(value, Dumper=_Quoted, allow_unicode=True, sort_keys=False, width=10**6, **options)


def as_inline_toml(value):
    """Each key of the document in a line of its own."""
    return "".join(f"{_string(key)} = {_inline(inner)}\n" for key, inner in value.items())


def as_tables(value, place=()):
    """Objects as tables, and lists of objects as arrays of tables."""
    text = "".join(f"{_key(k)} = {_inline(v)}\n" for k, v in value.items() if not _is_table(v) and not _are_tables(v))
    for key, inner in value.items():
        path = ".".join(map(_key, (*place, key)))
        if _is_table(inner):
            text += f"\n[{path}]  # a table\n{as_tables(inner, (*place, key))}"
        elif _are_tables(inner):
            text += "".join(f"\n[[ {path} ]]\n{as_tables(one, (*place, key))}" for one in inner)
    return text


def _is_table(value):
    return isinstance(value, dict)


def _are_tables(value):
    return isinstance(value, list) and value != [] and all(isinstance(one, dict) for one in value)


def _key(key):
    return key if re.fullmatch("[A-Za-z0-9_-]+", key, re.ASCII) else _string(key)


def _string(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[ # a list\n" + "".join(f"  {_inline(inner)} ,\n" for inner in value) + "]"
    return _string(value) if isinstance(value, str) else json.dumps(value)
