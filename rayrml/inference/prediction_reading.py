"""Reading predictions back, from one file or from shards."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining
from rayrml.inference.shard_folder import ATTRIBUTE, ShardFolder, is_index, read_index
from rayrml.storage import hdf5_reading

_MOST_OPEN = 16  # shards: samples next to each other by name are in few of them


def read_outputs(path: str | Path) -> Generator[tuple[str, np.ndarray], None, None]:
    """The name and the output of each sample in a prediction file, in the file's order.

    The file may also be one of links to shards, or the index of shards.

    Raises:
        DataError: a file cannot be read.
    """
    token = None
    if not is_index(path):
        with explaining(path, "cannot be read"), hdf5_reading.opened(storage.local_copy(path)) as file:
            if ATTRIBUTE not in file.attrs:
                yield from _datasets(file, "")
                return
            token = str(file.attrs[ATTRIBUTE])
    yield from _read_shards(str(path) if token is None else ShardFolder(str(path)).index, token)


def _read_shards(index: str, token: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the output of each sample of an index, whose shards must be those of the run with this token."""
    with contextlib.closing(_OpenShards(storage.parent(index))) as shards:
        for name, shard in read_index(index):
            if token is not None and not shard.startswith(token):
                raise DataError(Problem(index, "is not of the same run as the predictions beside it. Predict again"))
            yield name, shards.read(shard, name)


class _OpenShards:
    """The shards of a folder, of which those that were read last stay open."""

    def __init__(self, folder: str):
        self._folder = folder
        self._open: OrderedDict[str, tuple[contextlib.ExitStack, h5py.File]] = OrderedDict()

    def read(self, shard: str, name: str) -> np.ndarray:
        """The output of a sample. Raises DataError if it cannot be read."""
        path = storage.join(self._folder, shard)
        with explaining(path, "cannot be read", (OSError, KeyError)):
            if shard not in self._open:
                if len(self._open) == _MOST_OPEN:
                    self._open.popitem(last=False)[1][0].close()
                held = contextlib.ExitStack()
                self._open[shard] = held, held.enter_context(hdf5_reading.opened(storage.local_copy(path)))
            self._open.move_to_end(shard)
            dataset: Any = self._open[shard][1][name]
            return _as_floats(dataset[()])

    def close(self) -> None:
        """Close all of them."""
        for held, _ in self._open.values():
            held.close()
        self._open.clear()


def _as_floats(stored: np.ndarray) -> np.ndarray:
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def _datasets(group: h5py.Group, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, member in group.items():
        if isinstance(member, h5py.Group):
            yield from _datasets(member, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", _as_floats(member[()])
