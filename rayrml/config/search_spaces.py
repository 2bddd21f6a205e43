"""Search spaces: the places in a configuration where `{"choice": [...]}` and the like stand for a value to find."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from rayrml.config.json_files import format_value
from rayrml.errors import Problem

Kind = Literal["choice", "uniform", "loguniform", "randint"]
KINDS: dict[str, str] = {
    "choice": "one value from a list of any values that the key accepts",
    "uniform": "a number in a range, all equally likely",
    "loguniform": "a number in a range, all orders of magnitude equally likely",
    "randint": "an integer in a range that includes both ends",
}
_SECTION = "neural_network"
_MOST_TRIES = 100  # draws without a new result: hardly any are left


@dataclasses.dataclass(frozen=True)
class Space:
    """One value to search for.

    Attributes:
        place: its path of keys and indices in the configuration.
        kind: how it is drawn.
        values: the choices, or the two ends.
    """

    place: tuple[str | int, ...]
    kind: Kind
    values: Sequence[Any]

    @property
    def where(self) -> str:
        """The JSON path."""
        return ".".join(map(str, self.place))

    @property
    def name(self) -> str:
        """The JSON path as `--set` takes it, which identifies the space."""
        return self.where.removeprefix(f"{_SECTION}.")

    @property
    def text(self) -> str:
        """A short description of what it is drawn from."""
        if self.kind == "choice":
            return "one of " + ", ".join(format_value(value, 40) for value in self.values)
        return f"{self.kind} from {format_value(self.values[0])} to {format_value(self.values[1])}"

    def draw(self, source: random.Random) -> Any:
        """A random value."""
        if self.kind == "choice":
            return source.choice(self.values)
        low, high = self.values
        if self.kind == "randint":
            return source.randint(low, high)
        if self.kind == "uniform":
            return source.uniform(low, high)
        return min(max(math.exp(source.uniform(math.log(low), math.log(high))), low), high)


def find_spaces(raw: Any) -> tuple[list[Space], list[Problem]]:
    """The spaces of a configuration in their order there, and what is wrong with them."""
    spaces: list[Space] = []
    problems: list[Problem] = []
    section = raw.get(_SECTION) if isinstance(raw, Mapping) else None
    for place, entry in _objects(section, (_SECTION,)):
        ((kind, values),) = entry.items()
        space = Space(place, cast(Kind, kind), values)
        message = _complaint(space)
        if message is None:
            spaces.append(space)
        else:
            problems.append(Problem(space.where, message))
    return spaces, problems


def fill(raw: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the configuration with the spaces replaced by these values, which are given by the spaces' names."""
    whole: Any = copy.deepcopy(dict(raw))
    for space in find_spaces(raw)[0]:
        *outer, last = space.place
        inside = whole
        for part in outer:
            inside = inside[part]
        inside[last] = copy.deepcopy(values[space.name])
    return whole


def list_examples(spaces: Sequence[Space]) -> Iterator[dict[str, Any]]:
    """Values for all spaces: the first choices or ends, then the same with each other value in turn."""
    first = {space.name: space.values[0] for space in spaces}
    yield first
    for space in spaces:
        for value in space.values[1:]:
            yield first | {space.name: value}


def draw(spaces: Sequence[Space], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` different random sets of values; fewer if there are not enough."""
    source = random.Random(seed)
    sets: list[dict[str, Any]] = []
    for _ in range(count):
        for _try in range(_MOST_TRIES):
            values = {space.name: space.draw(source) for space in spaces}
            if values not in sets:
                sets.append(values)
                break
        else:
            break
    return sets


def _objects(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """The objects whose only key names a kind of space, and where they are."""
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS:
        yield place, value
    elif isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inside in items:
            yield from _objects(inside, (*place, key))


def _complaint(space: Space) -> str | None:
    """What is wrong with a space, None if nothing is."""
    values: Any = space.values
    if space.kind == "choice":
        if not isinstance(values, list) or not values:
            return f"expected a list of values to choose from, got {format_value(values)}"
        if any(value in values[:number] for number, value in enumerate(values)):
            return f"a value is listed twice: {format_value(values)}"
        if any(True for _ in _objects(values, ())):
            return "contains a search space. Search spaces cannot be nested"
        return None
    if not isinstance(values, list) or len(values) != 2 or not all(map(_is_number, values)):
        return f"expected [lowest, highest], two numbers, got {format_value(values)}"
    low, high = values
    if low >= high:
        return f"expected [lowest, highest] with lowest < highest, got {format_value(values)}"
    if space.kind == "loguniform" and low <= 0:
        return f"expected numbers above 0, got {format_value(values)}"
    if space.kind == "randint" and not all(isinstance(value, int) for value in values):
        return f"expected two integers, got {format_value(values)}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
