"""The table of transforms, and how a list of them is parsed.

A row's fields are its JSON. A row with a single field that has no default is given as a bare value
(`"random_horizontal_flip": 0.5`), any other as an object (`"normalize": {"mean": 0.5}`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from rayrml.config.json_files import format_value
from rayrml.config.names import find
from rayrml.config.tables import Choice, make_model, validate
from rayrml.data.transforms import adjustments, flipping, mixing, mosaic, sizing, trivial_augment, turning, values
from rayrml.errors import ConfigError, Problem

TRANSFORMS = {
    **sizing.TRANSFORMS,
    **flipping.TRANSFORMS,
    **turning.TRANSFORMS,
    **values.TRANSFORMS,
    **adjustments.TRANSFORMS,
    **trivial_augment.TRANSFORMS,
    **mixing.TRANSFORMS,
    **mosaic.TRANSFORMS,
}


@dataclasses.dataclass(frozen=True)
class Placed(Choice):
    """A chosen row with its place in the configuration.

    Attributes:
        where: its JSON path, such as `neural_network.data.transforms[2].resize`.
    """

    where: str = ""

    @property
    def section(self) -> dict[str, Any]:
        """The complete JSON object of this row."""
        bare = find_bare_field(self.builder)
        return {self.name: self.settings if bare is None else self.settings[bare]}


def parse_transforms(section: Any, path: str) -> tuple[Placed, ...]:
    """The rows that a JSON list of one-key objects chooses, in its order.

    Raises:
        ConfigError: lists every mistake, each with its JSON path below `path`.
    """
    if not isinstance(section, list):
        raise ConfigError(Problem(path, f"expected a list of objects with one key each, got {format_value(section)}"))
    mistakes: list[Problem] = []
    chosen: list[Placed] = []
    for number, entry in enumerate(section):
        try:
            chosen.append(_placed(entry, f"{path}[{number}]"))
        except ConfigError as error:
            mistakes += error.problems
    mistakes += _misplaced(chosen)
    if mistakes:
        raise ConfigError(*mistakes)
    return tuple(chosen)


def find_bare_field(builder: Callable[..., Any]) -> str | None:
    """The one field of a row that is given as a bare value; None if the row takes an object."""
    fields = make_model(builder).model_fields
    return next(iter(fields)) if [f.is_required() for f in fields.values()] == [True] else None


def _placed(entry: Any, path: str) -> Placed:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        expected = 'expected an object with one key, such as {"random_horizontal_flip": 0.5}'
        raise ConfigError(Problem(path, f"{expected}, got {format_value(entry)}"))
    ((key, value),) = entry.items()
    name = find(TRANSFORMS, key, path)
    where, builder = f"{path}.{name}", TRANSFORMS[name]
    model, bare = make_model(builder), find_bare_field(builder)
    if bare is None and not isinstance(value, Mapping):
        keys = ", ".join(f"'{k}'" for k in model.model_fields)
        raise ConfigError(Problem(where, f"expected an object with the keys {keys}, got {format_value(value)}"))
    try:
        arguments = validate(model, value if bare is None else {bare: value}, where, f"{name} takes")
    except ConfigError as error:
        # The user did not write the field of a bare value.
        places = [
            (p.where if bare is None else p.where.replace(f"{where}.{bare}", where, 1), p.message)
            for p in error.problems
        ]
        raise ConfigError(*(Problem(*place) for place in places)) from None
    return Placed(name, builder, arguments, where)


def _misplaced(chosen: list[Placed]) -> list[Problem]:
    """Problems with transforms that must read pixels but come after `normalize`."""
    names = [c.name for c in chosen]
    first = names.index("normalize") if "normalize" in names else len(names)
    message = "works on pixels in [0, 1]. Expected before 'normalize', not after it"
    return [Problem(c.where, message) for c in chosen[first:] if TRANSFORMS[c.name].reads_pixels]
