"""A look at the sizes of samples, where transforms have to know whether they are equal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from rayrml import storage
from rayrml.data.addresses import Place
from rayrml.data.discovery import Samples
from rayrml.data.readers import Reader
from rayrml.data.readers.images import IMAGE_EXTENSIONS, read_header
from rayrml.errors import DataError

_MOST_FILES, _MOST_OF_A_STORE = 1000, 64
_REQUESTS = 16  # concurrent ones to a store


def have_different_sizes(samples: Samples, reader: Reader) -> bool:
    """Whether samples have different sizes, as far as many of them show; those that cannot be read are left out."""
    if samples.slices or reader.generate is not None:
        return False
    sizes: set[tuple[int, ...]] = set()
    for size in _read_sizes(samples, reader):
        sizes.add(size)
        if len(sizes) > 1:
            return True
    return False


def _read_sizes(samples: Samples, reader: Reader) -> Iterator[tuple[int, ...]]:
    first = samples.place(0)
    remote = storage.is_uri(first.path)
    places = [samples.place(index) for index in samples.spread(_MOST_OF_A_STORE if remote else _MOST_FILES)]
    if not remote:
        for place in places:
            yield from _read_size(place, reader)
        return
    with ThreadPoolExecutor(_REQUESTS) as threads:
        for found in threads.map(lambda place: _read_size(place, reader), places):
            yield from found


def _read_size(place: Place, reader: Reader) -> tuple[tuple[int, ...], ...]:
    """The sizes of a sample's axes but the channels; () if it cannot be read."""
    with contextlib.suppress(DataError):  # reported by whoever needs the sample
        if reader.extensions == IMAGE_EXTENSIONS:
            return (read_header(place.path).size,)
        with reader.open(place.path) as read:
            return (tuple(read(place.name).shape),)
    return ()
