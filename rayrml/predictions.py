"""Prediction files: one HDF5 dataset a sample, named by the sample's path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayrml.errors import DataError, Problem

_COMPACT_BYTES = 64_000  # HDF5 keeps data up to 64 KiB in a dataset's header: a third of the time and no gaps


class PredictionSink(Protocol):
    """Where predictions go, batch by batch."""

    def write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        """Add a dataset for each of `names` with its row of `outputs` (n, ...)."""
        ...

    def close(self) -> None:
        """Finish the file and give it its name."""
        ...


class PredictionFile:
    """An HDF5 file that appears under its name when it is whole.

    Source: h5py's low-level interface; property lists and data spaces are made once for all datasets of a shape.
    """

    def __init__(self, path: str | Path, classes: Sequence[str] = ()):
        self.path = Path(path)
        self._unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.unfinished")
        self._spaces: dict[tuple[int, ...], h5py.h5s.SpaceID] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(self._unfinished, "w")
        except OSError as error:
            raise DataError(Problem(str(self.path), f"cannot be written. {error.strerror or error}")) from None
        if classes:
            self._file.attrs["classes"] = np.array(classes, dtype=h5py.string_dtype())
        self._links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        self._links.set_create_intermediate_group(True)
        self._links.set_char_encoding(h5py.h5t.CSET_UTF8)
        self._compact = self._creation(h5py.h5d.COMPACT)
        self._contiguous = self._creation(h5py.h5d.CONTIGUOUS)

    def write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        """Add a dataset for each of `names` with its row of `outputs` (n, ...); on disk when this returns."""
        outputs = np.ascontiguousarray(outputs)
        kind = h5py.h5t.py_create(outputs.dtype)
        shape = outputs.shape[1:]
        if shape not in self._spaces:
            self._spaces[shape] = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
        space = self._spaces[shape]
        layout = self._compact if outputs[:1].nbytes <= _COMPACT_BYTES else self._contiguous
        root = self._file.id
        try:
            for name, output in zip(names, outputs, strict=True):
                dataset = h5py.h5d.create(root, os.fsencode(name), kind, space, layout, self._links)
                dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.asarray(output))
            self._file.flush()
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(Problem(str(self.path), f"cannot be written. {error}")) from None

    def close(self) -> None:
        """Finish the file and give it its name."""
        self._file.close()
        self._unfinished.replace(self.path)

    def discard(self) -> None:
        """Remove what was written."""
        if self._file:
            self._file.close()
        self._unfinished.unlink(missing_ok=True)

    @staticmethod
    def _creation(layout: int) -> h5py.h5p.PropDCID:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(layout)
        properties.set_obj_track_times(False)
        return properties


class RemotePredictions:
    """The one writer of a file that several workers fill: an actor beside the driver, where the file is wanted.

    At most two batches of a worker are on their way, so that slow disks slow workers down instead of filling memory.
    """

    def __init__(self, actor: ActorHandle):
        self._actor = actor
        self._pending: list[ray.ObjectRef] = []

    def write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        """Send a batch to the writer."""
        self._pending.append(self._actor.write.remote(list(names), outputs))
        if len(self._pending) > 2:
            ray.get(self._pending.pop(0))

    def close(self) -> None:
        """Wait until all that this worker sent is on disk."""
        ray.get(self._pending)
        self._pending.clear()


class _Writer:
    """The actor behind `RemotePredictions`: it writes one file after the other."""

    def __init__(self) -> None:
        self._file: PredictionFile | None = None

    def begin(self, path: str, classes: Sequence[str]) -> None:
        if self._file is not None:
            self._file.discard()
        self._file = PredictionFile(path, classes)

    def write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        if self._file is None:
            raise RuntimeError("no prediction file is open")
        self._file.write(names, outputs)

    def finish(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def start_writer(node_id: str) -> ActorHandle:
    """An actor on the node of that id, with methods `begin`, `write` and `finish`."""
    here = NodeAffinitySchedulingStrategy(node_id, soft=False)
    writer: Any = ray.remote(_Writer)
    return writer.options(num_cpus=0, scheduling_strategy=here).remote()
