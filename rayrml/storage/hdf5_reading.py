"""HDF5 files that somebody else made, opened so that they cannot lead to other files or to code.

An HDF5 file can name other files (external links, raw data outside, virtual datasets) and filters that the library
looks for in folders of plugins. None of that is followed.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import h5py.h5pl
import numpy as np

from rayrml.errors import DataError, Problem
from rayrml.storage.archives import check_memory

_MOST_LINKS = 16
_MOST_VIEWS = 8  # of one another: HDF5 calls itself for each, and ends the process where that has no end
_MOST_SOURCES = 100_000
_MEMORY_BYTES = 2**16  # by which a file in memory would grow
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


class _Reach(NamedTuple):
    """What HDF5 reads for one dataset: how many views of one another, and how many datasets, with itself."""

    views: int
    datasets: int


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """The file, open for reading. Raises what h5py raises of files that are none."""
    _forget_plugins()
    with h5py.File(path, "r", locking=False) as found:
        yield found


@contextlib.contextmanager
def opened_in_memory(content: bytes, name: str) -> Iterator[h5py.File]:
    """The file of that content, open for reading; it goes by `name`, which no other content has at the same time.

    HDF5 gets a copy of its own. It must not read by a Python object: what that does not fill stays as the memory was,
    and whatever Python does meanwhile, such as closing datasets that nobody needs, HDF5 does not expect.
    """
    _forget_plugins()
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(_MEMORY_BYTES, False)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_image(content)
    with h5py.File(h5py.h5f.open(os.fsencode(name), h5py.h5f.ACC_RDONLY, fapl=access)) as found:
        yield found


def _forget_plugins() -> None:
    """Empty the list of folders where HDF5 looks for plugins: filters, also those of a group's own links."""
    while h5py.h5pl.size():
        h5py.h5pl.remove(0)


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
    """Raise DataError unless all values lie in the dataset's file, packed as HDF5 itself packs; `place` names it.

    Until this was called, not even the shape of a virtual dataset is to be asked for: HDF5 may look for it in others.
    """
    _check(dataset, place, (), {})


def _check(
    dataset: h5py.Dataset, place: str, views: tuple[h5py.Dataset, ...], known: dict[h5py.Dataset, _Reach]
) -> _Reach:
    """Check a dataset that is read for the sake of `views`, one for the other; gives what is read for its own sake."""
    creation: Any = dataset.id.get_create_plist()
    virtual = creation.get_layout() == h5py.h5d.VIRTUAL
    if not virtual and creation.get_external_count():
        outside = creation.get_external(0)[0]
        shown = outside.decode(errors="backslashreplace") if isinstance(outside, bytes) else outside
        raise DataError(Problem(place, f"has its values in '{shown}'. {_OTHERS}"))
    for i in range(creation.get_nfilters()):
        number, _, _, label = creation.get_filter(i)
        if number not in _FILTERS:
            shown = f"'{label.decode(errors='backslashreplace')}', " if label else ""
            message = f"is packed by the filter {shown}number {number}, which is not known"
            raise DataError(Problem(place, f"{message}. Expected gzip, lzf, szip or none"))
    if not virtual:
        return _Reach(0, 1)
    if dataset in views:
        raise DataError(Problem(place, "is a virtual dataset that leads to itself"))
    if dataset not in known and len(views) < _MOST_VIEWS:
        known[dataset] = _sources(dataset, place, (*views, dataset), known)
    if len(views) + (known[dataset].views if dataset in known else 1) > _MOST_VIEWS:
        raise DataError(Problem(place, f"is a virtual dataset of virtual ones, more than {_MOST_VIEWS} of one another"))
    return known[dataset]


def _sources(
    dataset: h5py.Dataset, place: str, views: tuple[h5py.Dataset, ...], known: dict[h5py.Dataset, _Reach]
) -> _Reach:
    """Check the sources of a virtual dataset, the last of `views`."""
    creation: Any = dataset.id.get_create_plist()
    reaches: dict[str, _Reach] = {}
    deepest, count = 0, 1
    for i in range(creation.get_virtual_count()):
        file, name = creation.get_virtual_filename(i), creation.get_virtual_dsetname(i)
        if file != ".":
            raise DataError(Problem(place, f"has its values in '{file}'. {_OTHERS}"))
        if name not in reaches:
            reaches[name] = _check(_source(dataset, name, place), place, views, known)
        deepest, count = max(deepest, reaches[name].views), count + reaches[name].datasets
        if count > _MOST_SOURCES:
            raise DataError(Problem(place, f"is a virtual dataset of more than {_MOST_SOURCES} others"))
    return _Reach(deepest + 1, count)


def _source(dataset: h5py.Dataset, name: str, place: str) -> h5py.Dataset:
    if "%" in name:  # HDF5 would read other names into it
        raise DataError(Problem(place, f"has its values in '{name}', a pattern of names. Patterns are not read"))
    found = member(dataset.file, name, place)
    if not isinstance(found, h5py.Dataset):
        raise DataError(Problem(place, f"has its values in '{name}', which is not there"))
    return found


def has_shape(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is an array of any size, which HDF5's empty ones are not; it need not be checked before."""
    return dataset.is_virtual or dataset.shape is not None


def values(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """All values of a dataset. Raises DataError if they are not to be read, or more than the memory holds."""
    check(dataset, place)
    check_memory(math.prod(dataset.shape or ()) * dataset.dtype.itemsize, place)
    return np.asarray(dataset)
