"""Sample names as dataset names: predictions are stored under them in one HDF5 file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rayrml.data.discovery import quote_some
from rayrml.errors import DataError, Problem

# Parts that HDF5 drops from a path, and the two that are not names elsewhere.
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|\0")


def check_names(names: Sequence[str], place: str) -> None:
    """Raise DataError if `names` cannot be dataset names in one file; `place` says where they come from."""
    strange = [name for name in names if _NO_NAME.search(name)]
    if strange:
        expected = "Expected parts between single slashes, none of them '.' or '..'"
        raise DataError(Problem(place, f"predictions cannot be stored under {quote_some(strange)}. {expected}"))
    known = set(names)
    if len(known) < len(names):
        seen: set[str] = set()
        twice = [name for name in names if name in seen or seen.add(name)]
        raise DataError(Problem(place, f"several samples have the same name: {quote_some(dict.fromkeys(twice))}"))
    groups = sorted(known & _groups(known))
    if groups:
        inside = next(name for name in names if name.startswith(f"{groups[0]}/"))
        message = f"predictions cannot use the sample names: '{groups[0]}' would be a dataset and contain another"
        raise DataError(Problem(place, f"{message}, '{inside}'. Expected other names"))


def _groups(names: Iterable[str]) -> set[str]:
    """All groups that contain datasets of these names."""
    groups: set[str] = set()
    pending = {name.rpartition("/")[0] for name in names}
    while pending:
        groups |= pending
        pending = {group.rpartition("/")[0] for group in pending} - groups
    return groups - {""}
