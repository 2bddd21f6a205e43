"""Which layers of a file and of a network belong together whose names differ by models around them or by numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from rayrml.data.discovery import quote_some
from rayrml.errors import ConfigError, Problem

Entry = TypeVar("Entry", bound=Hashable)
_MOST_NAMED = 5


def pair_by_last_name(
    stored: Iterable[Entry], own: Iterable[Entry], last: Callable[[Entry], Hashable]
) -> dict[Entry, Entry]:
    """Pairs of a file's and a network's entries whose `last` names are equal, and occur once on both sides."""
    theirs, ours = ({entry: last(entry) for entry in entries} for entries in (stored, own))
    by_name = {name: entry for entry, name in ours.items()}
    num_theirs, num_ours = Counter(theirs.values()), Counter(ours.values())
    return {entry: by_name[name] for entry, name in theirs.items() if num_theirs[name] == num_ours[name] == 1}


def pair_numbered(stored: Iterable[str], own: Mapping[str, str], place: str) -> dict[str, str]:
    """The network's name of each layer of a file that Keras named by a number, such as `conv2d_12`.

    The numbers tell the order in which layers were made. The first is 0 in a new session of Keras, and goes on if there
    were other networks before.

    Args:
        stored: names of layers in the file.
        own: the names of the network's layers with weights, and what Keras calls layers of their classes.
        place: the JSON path that names the file.

    Raises:
        ConfigError: the file has more or fewer such layers of a class than the network.
    """
    pairs: dict[str, str] = {}
    for base in dict.fromkeys(own.values()):
        ours = _sort_numbered((name for name, kind in own.items() if kind == base), base)
        theirs = _sort_numbered(stored, base)
        if ours and theirs and len(theirs) != len(ours):
            message = f"the file has {len(theirs)} layers named '{base}_...', but the network has {len(ours)}"
            raise ConfigError(Problem(place, f"{message}. Expected weights of this network"))
        pairs |= dict(zip(theirs, ours, strict=False))
    return pairs


def _sort_numbered(names: Iterable[str], base: str) -> list[str]:
    """The names that are `base` with a number, or without one, by their numbers."""
    numbers = {name: int(found[1] or 0) for name in names if (found := re.fullmatch(rf"{base}(?:_(\d+))?", name))}
    return sorted(numbers, key=numbers.__getitem__)


def snake_case(class_name: str) -> str:
    """`Conv2DTranspose` -> `conv2d_transpose`, as Keras 3 names the groups of a class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def describe_misfit(path: object, stored: Sequence[str], own: Sequence[str]) -> str:
    """What is wrong if nothing of a file fits a network: some names of both sides."""
    return f"nothing in '{path}' fits the network. The file has {_some(stored)}; the network has {_some(own)}"


def describe_initial(path: object, names: Sequence[str]) -> str:
    """What is wrong if a network that is not trained has layers that a file lacks."""
    kept = "which keeps its" if len(names) == 1 else "which keep their"
    return f"'{path}' lacks {_some(names)}, {kept} initial weights. Expected the weights of the whole network"


def describe_unused(path: object, names: Sequence[str]) -> str:
    """What is wrong if a network that is not trained lacks weights of its layers that a file has."""
    return f"'{path}' has {_some(names)}, which the network lacks: it would compute something else"


def _some(names: Sequence[str]) -> str:
    return quote_some(names, _MOST_NAMED) or "no weights"
