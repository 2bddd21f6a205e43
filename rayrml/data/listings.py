"""What is in folders, listed once for all runs of a search."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias, TypeVar

from rayrml.storage import is_uri

T = TypeVar("T")
Listings: TypeAlias = dict[tuple[str, frozenset[str]], object]
_known: contextvars.ContextVar[Listings | None] = contextvars.ContextVar("listings", default=None)


@contextlib.contextmanager
def listing_once(known: Listings | None = None) -> Iterator[Listings]:
    """A block in which each folder is listed once; yields what is found, and begins with what is `known`."""
    listings: Listings = {} if known is None else dict(known)
    token = _known.set(listings)
    try:
        yield listings
    finally:
        _known.reset(token)


def listed(folder: str, extensions: Collection[str], find: Callable[[], T]) -> T:
    """What `find` finds in a folder, which is what it found before within `listing_once`."""
    known = _known.get()
    if known is None or not (is_uri(folder) or os.path.isabs(folder)):  # noqa: PTH117 (a string)
        return find()
    key = folder, frozenset(extensions)
    if key not in known:
        known[key] = find()
    return known[key]  # pyright: ignore[reportReturnType]
