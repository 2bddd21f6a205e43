"""Which layers of a file and of a network belong together if their names differ by the models around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from rayrml.data.discovery import quote_some

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
