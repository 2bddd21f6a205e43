"""HDF5 files from untrusted sources, opened so that they cannot lead to other files or to code.

An HDF5 file can name other files (external links, external raw data, virtual datasets) and filters that the library
searches in plugin folders. None of them are followed.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import h5py.h5pl
import numpy as np
from h5py._objects import phil

from rayrml.errors import DataError, Problem
from rayrml.storage.archives import check_memory

_MOST_LINKS = 16
_MOST_VIEWS = 8  # nested: HDF5 recurses for each, and crashes the process if the recursion never ends
_MOST_SOURCES = 100_000
_MEMORY_BYTES = 2**16  # step by which an in-memory file would grow
_NOTE = re.compile(r"^ *(\d+)- *(\d+) ", re.MULTILINE)
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
    """What HDF5 reads for one dataset: the number of nested views, and of datasets including itself."""

    views: int
    datasets: int


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """The file, open for reading. Raises whatever h5py raises for files that are not HDF5."""
    _forget_plugins()
    with h5py.File(path, "r", locking=False) as found:
        yield found


@contextlib.contextmanager
def opened_noting_reads(path: str, log: str) -> Iterator[h5py.File]:
    """The file, open for reading, while HDF5 notes in the file `log` what it reads, for `noted_reads`."""
    _forget_plugins()
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_log(os.fsencode(log), h5py.h5fd.LOG_LOC_READ, 0)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)
    with h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, fapl=access)) as found:
        yield found


def noted_reads(log: str) -> list[tuple[int, int]]:
    """What HDF5 has read of the closed file: the first byte, and one after the last, of each part."""
    return [(int(first), int(last) + 1) for first, last in _NOTE.findall(Path(log).read_text("ascii"))]


@contextlib.contextmanager
def opened_in_memory(content: bytes, name: str) -> Iterator[h5py.File]:
    """The file with this content, open for reading, under `name`, which must not be in use for other content.

    HDF5 gets its own copy. It must not read through a Python object: bytes that the object does not fill keep whatever
    was in memory, and HDF5 does not expect what Python may do meanwhile, such as closing unused datasets.
    """
    _forget_plugins()
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(_MEMORY_BYTES, False)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_image(content)
    with h5py.File(h5py.h5f.open(os.fsencode(name), h5py.h5f.ACC_RDONLY, fapl=access)) as found:
        yield found


def _forget_plugins() -> None:
    """Empty the list of HDF5's plugin folders: for filters, including those of a group's own links.

    Of all functions of h5py these take no lock: HDF5 must not be entered while another thread is in it, writing a file.
    """
    with phil:
        while h5py.h5pl.size():
            h5py.h5pl.remove(0)


def member(group: h5py.Group, name: str, place: str) -> h5py.Group | h5py.Dataset | None:
    """The group or dataset of a name, None if there is none; `place` names the file.

    Raises:
        DataError: its path leads out of the file, or in a circle.
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
                raise DataError(Problem(place, f"'{name}' is a link to itself, or through too many other links"))
            found = _walk(found, link.path, place, links)
        else:
            found = found.get(part)
        if found is None:
            return None
    return found


def check(dataset: h5py.Dataset, place: str) -> None:
    """Raise DataError unless all values are in the dataset's file, with HDF5's own filters; `place` names it.

    Before this call, do not even read the shape of a virtual dataset: HDF5 may look for it in other files.
    """
    _check(dataset, place, (), {})


def _check(
    dataset: h5py.Dataset, place: str, views: tuple[h5py.Dataset, ...], known: dict[h5py.Dataset, _Reach]
) -> _Reach:
    """Check a dataset that is read for the nested `views`; returns what is read for the dataset itself."""
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
            message = f"is compressed by the unknown filter {shown}number {number}"
            raise DataError(Problem(place, f"{message}. Expected gzip, lzf, szip or none"))
    if not virtual:
        return _Reach(0, 1)
    if dataset in views:
        raise DataError(Problem(place, "is a virtual dataset that refers to itself"))
    if dataset not in known and len(views) < _MOST_VIEWS:
        known[dataset] = _sources(dataset, place, (*views, dataset), known)
    if len(views) + (known[dataset].views if dataset in known else 1) > _MOST_VIEWS:
        raise DataError(Problem(place, f"is a virtual dataset nested more than {_MOST_VIEWS} levels deep"))
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
    if "%" in name:  # HDF5 would expand it to other names
        raise DataError(Problem(place, f"has its values in '{name}', a name pattern. Patterns are not read"))
    found = member(dataset.file, name, place)
    if not isinstance(found, h5py.Dataset):
        raise DataError(Problem(place, f"has its values in '{name}', which is missing"))
    return found


def has_shape(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is an array of any size, unlike HDF5's empty datasets; `check` is not needed first."""
    return dataset.is_virtual or dataset.shape is not None


def values(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """All values of a dataset. Raises DataError if they must not be read, or do not fit into memory."""
    check(dataset, place)
    check_memory(math.prod(dataset.shape or ()) * dataset.dtype.itemsize, place)
    return np.asarray(dataset)
