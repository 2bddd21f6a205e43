"""Which layers of a file and of a network belong together if their names differ by the models around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Stored = TypeVar("Stored", bound=Hashable)
Own = TypeVar("Own", bound=Hashable)
_MOST_NAMED = 5


def pair_by_last_name(
    stored: Iterable[Stored],
    own: Iterable[Own],
    last_of_stored: Callable[[Stored], Hashable],
    last_of_own: Callable[[Own], Hashable],
) -> dict[Stored, Own]:
    """Pairs of a file's and a network's entries whose last names are equal, and occur once on both sides."""
    theirs, ours = list(stored), list(own)
    by_name = {last_of_own(entry): entry for entry in ours}
    num_theirs, num_ours = Counter(map(last_of_stored, theirs)), Counter(map(last_of_own, ours))
    names = {entry: last_of_stored(entry) for entry in theirs}
    return {entry: by_name[name] for entry, name in names.items() if num_theirs[name] == num_ours[name] == 1}


def describe_misfit(path: object, stored: Sequence[str], own: Sequence[str]) -> str:
    """What is wrong if nothing of a file fits a network: some names of both sides."""
    return f"nothing in '{path}' fits the network. The file has {_some(stored)}; the network has {_some(own)}"


def describe_initial(path: object, names: Sequence[str]) -> str:
    """What is wrong if a network that is not trained has layers that a file lacks."""
    kept = "this layer keeps its" if len(names) == 1 else "these layers keep their"
    return f"'{path}' lacks {_some(names)}: {kept} initial weights. Expected the weights of the whole network"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_MOST_NAMED]) + more or "no weights"
