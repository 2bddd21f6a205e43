"""Keys as people type them: `lr=0.01` for `optimizer.learning_rate`, if only one key can be meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rayrml.config.names import describe_unknown, find, find_row
from rayrml.errors import ConfigError, Problem
from rayrml.schema.stored import read_catalog

_NETWORK, _RAY = "neural_network", "ray"
_OTHER_NAMES = {"lr": "learning_rate", "epochs": "num_epochs", "batch": "batch_size", "workers": "num_workers"}
_ROWS = {  # the key that names a row of a table, and the table
    "optimizer": ("type", "optimizers"),
    "loss": ("function", "losses"),
    "optimizer.lr_scheduler": ("type", "lr_schedulers"),
}


def complete(key: str, values: Any) -> str:
    """The dotted key that a short one means; itself if it is dotted, or no key is called so.

    Args:
        key: as typed, relative to `neural_network`.
        values: the configuration's object, whose rows of optimizer, loss and scheduler have keys of their own.

    Raises:
        ConfigError: several keys are called so.
    """
    name = _OTHER_NAMES.get(key, key)
    sections = read_catalog()["section_keys"]
    if "." in key or name in sections[_NETWORK] or name in (_NETWORK, _RAY):
        return name if "." not in key else key
    inner = {path.removeprefix(f"{_NETWORK}."): keys for path, keys in sections.items() if path != _NETWORK}
    found = [f"{section}.{name}" for section, keys in inner.items() if name in keys]
    found += [f"{place}.{name}" for place in _ROWS if name in _list_row_keys(place, values)]
    if len(found) > 1:
        raise ConfigError(Problem(key, f"may mean {' or '.join(found)}. Expected one of these"))
    return found[0] if found else key


def refuse_unknown(keys: Iterable[str]) -> None:
    """Raise ConfigError if a section has no such key; lists all of these dotted keys, with the nearest known ones."""
    if problems := [problem for key in keys if (problem := _find_problem(key))]:
        raise ConfigError(*problems)


def _find_problem(key: str) -> Problem | None:
    """What is wrong with a dotted key, None if its sections have it."""
    sections = read_catalog()["section_keys"]
    parts = key.split(".")
    section, *rest = parts if parts[0] in (_NETWORK, _RAY) else [_NETWORK, *parts]
    for part in rest:
        if part not in sections[section]:
            return Problem(f"{section}.{part or repr('')}", describe_unknown(part, sections[section]))
        section = f"{section}.{part}"
        if section not in sections:
            return None
    return None


def find_wrong_rows(values: Any) -> list[Problem]:
    """What is wrong with the rows that a configuration chooses, as far as their names and those of their keys say."""
    problems: list[Problem] = []
    for place, (key, table) in _ROWS.items():
        section, path = _section_at(place, values), f"{_NETWORK}.{place}"
        if section is None:
            continue
        rows = read_catalog()["row_keys"][table]
        try:
            row = find_row(rows, section, path, key)
        except ConfigError as error:
            problems += error.problems
            continue
        inner = [each.removeprefix(f"{place}.") for each in _ROWS if each.startswith(f"{place}.")]
        unknown = [name for name in section if name not in (key, *inner, *rows[row])]
        problems += [Problem(f"{path}.{name}", describe_unknown(name, rows[row], f"{row} takes")) for name in unknown]
    return problems


def _list_row_keys(place: str, values: Any) -> Iterable[str]:
    """The keys of the row that the configuration chooses at a place, besides the one that names it."""
    section = _section_at(place, values)
    if section is None:
        return ()
    key, table = _ROWS[place]
    rows = read_catalog()["row_keys"][table]
    try:
        return rows[find(rows, str(section.get(key)), place)]
    except ConfigError:
        return section  # of a row that is refused in any case


def _section_at(place: str, values: Any) -> Mapping[str, Any] | None:
    """The object at a place of the network's section, None if there is none."""
    section = values.get(_NETWORK) if isinstance(values, Mapping) else None
    for part in place.split("."):
        section = section.get(part) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else None
