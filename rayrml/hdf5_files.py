"""HDF5 files that somebody else made, opened so that they cannot lead to other files or to code.

An HDF5 file can name other files (external links, raw data outside, virtual datasets) and filters that the library
looks for in folders of plugins. None of that is followed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py
import h5py.h5pl
import numpy as np

from rayrml.archives import check_memory
from rayrml.errors import DataError, Problem

_MOST_LINKS = 16
_OTHERS = "Other files are not read"
# The filters that come with HDF5 and h5py, by their registered numbers.
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}


@contextlib.contextmanager
def opened(file: str | Path | IO[bytes]) -> Iterator[h5py.File]:
    """The file, open for reading. Raises what h5py raises of files that are none."""
    while h5py.h5pl.size():  # where HDF5 looks for plugins: filters, also those of a group's own links
        h5py.h5pl.remove(0)
    with h5py.File(file, "r", **({} if hasattr(file, "read") else {"locking": False})) as found:
        yield found


def member(group: h5py.Group, name: str, place: str) -> h5py.Group | h5py.Dataset | None:
    """The group or the dataset of a name, None if there is none; `place` names the file.

    Raises:
        DataError: the way there leads out of the file, or in a circle.
    """
    return _walk(group, name, place, [0])


def _walk(group: h5py.Group, name: str, place: str, links: list[int]) -> h5py.Group | h5py.Dataset | None:
    found: Any = group.file if name.startswith("/") else group
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if not isinstance(found, h5py.Group):
            return None
        link: Any = found.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(Problem(place, f"'{name}' is a link to '{link.filename}'. {_OTHERS}"))
        if isinstance(link, h5py.SoftLink):
            links[0] += 1
            if links[0] > _MOST_LINKS:
                raise DataError(Problem(place, f"'{name}' is a link that leads to itself, or over too many others"))
            found = _walk(found, link.path, place, links)
        else:
            found = found.get(part)
        if found is None:
            return None
    return found


def check(dataset: h5py.Dataset, place: str) -> None:
    """Raise DataError unless all values lie in the dataset's file, packed as HDF5 itself packs; `place` names it."""
    _check(dataset, place, set())


def _check(dataset: h5py.Dataset, place: str, seen: set[str]) -> None:
    creation: Any = dataset.id.get_create_plist()
    if creation.get_layout() != h5py.h5d.VIRTUAL and creation.get_external_count():
        outside = creation.get_external(0)[0]
        shown = outside.decode(errors="backslashreplace") if isinstance(outside, bytes) else outside
        raise DataError(Problem(place, f"has its values in '{shown}'. {_OTHERS}"))
    for i in range(creation.get_nfilters()):
        number, _, _, label = creation.get_filter(i)
        if number not in _FILTERS:
            shown = f"'{label.decode(errors='backslashreplace')}', " if label else ""
            message = f"is packed by the filter {shown}number {number}, which is not known"
            raise DataError(Problem(place, f"{message}. Expected gzip, lzf, szip or none"))
    if dataset.is_virtual:
        _check_sources(dataset, place, seen)


def _check_sources(dataset: h5py.Dataset, place: str, seen: set[str]) -> None:
    for source in dataset.virtual_sources():
        if source.file_name != ".":
            raise DataError(Problem(place, f"has its values in '{source.file_name}'. {_OTHERS}"))
        if source.dset_name in seen:
            continue
        seen.add(source.dset_name)
        found = member(dataset.file, source.dset_name, place)
        if not isinstance(found, h5py.Dataset):
            raise DataError(Problem(place, f"has its values in '{source.dset_name}', which is not there"))
        _check(found, place, seen)


def values(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """All values of a dataset. Raises DataError if they are not to be read, or more than the memory holds."""
    check(dataset, place)
    check_memory(math.prod(dataset.shape or ()) * dataset.dtype.itemsize, place)
    return np.asarray(dataset)
