"""How a configuration's values are merged with those of one that it extends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayrml.config.search_spaces import KINDS

# Keys that name a row of a table, to which the other keys of their section belong.
_ROWS = {"optimizer": "type", "loss": "function", "lr_scheduler": "type"}


def merge(base: Mapping[str, Any], values: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """The values of `base` with those of `values` in their place; objects under the same key are merged likewise.

    Anything else is replaced: lists, networks, search spaces, and a section that names another row of its table (an
    optimizer, a loss, a scheduler), because its other keys belong to that row.
    """
    merged = dict(base)
    for name, value in values.items():
        before = base.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and _merges(name, before, value, key):
            merged[name] = merge(before, value, name)
        else:
            merged[name] = value
    return merged


def _merges(name: str, before: Mapping[str, Any], value: Mapping[str, Any], parent: str) -> bool:
    if name == "layers" and parent in ("neural_network", "critic"):
        return False
    if _is_space(before) or _is_space(value):
        return False
    row = _ROWS.get(name)
    return row is None or row not in value or _folded(value[row]) == _folded(before.get(row))


def _is_space(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in KINDS


def _folded(name: Any) -> Any:
    return name.casefold() if isinstance(name, str) else name
