"""Prediction files: one HDF5 dataset per sample, named like the sample, and assembled slices."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import h5py
import h5py.h5o
import numpy as np
import ray
from ray.actor import ActorHandle

from rayrml import storage
from rayrml.cluster.nodes import pin_to_node
from rayrml.data.discovery import Slices
from rayrml.errors import DataError, explaining
from rayrml.inference.picture_destination import PictureDestination
from rayrml.inference.shard_folder import ShardFolder
from rayrml.inference.slice_assembly import DTYPES, Precision, SliceAssembly, as_stored
from rayrml.storage import hdf5_reading
from rayrml.storage.hdf5_writing import Hdf5Output

if TYPE_CHECKING:
    from rayrml.inference.picture_files import PictureFiles

_COMPACT_BYTES = 64_000  # HDF5 can keep data up to 64 KiB in a dataset's header: a third of the time and no gaps
# HDF5's own cache. All names of a folder form one block, which is rewritten whenever it leaves the cache: with HDF5's
# default limit of 32 MB, each of a million samples takes half as long again.
_CACHE_BYTES, _MOST_CACHE_BYTES = 64 * 2**20, 128 * 2**20


Outputs = np.ndarray | Sequence[np.ndarray]  # (n, ...), or n arrays of different shapes
Sharding = Literal["none", "merge", "keep"]


class PredictionSink(Protocol):
    """Receives predictions, batch by batch."""

    def write(self, indices: np.ndarray, outputs: Outputs) -> None:
        """Add the rows of `outputs` (n, ...), which belong to the samples at `indices` (n,)."""
        ...

    def close(self) -> None:
        """Finish the output and give it its final name."""
        ...

    def discard(self) -> None:
        """Give up what is written."""
        ...


@dataclasses.dataclass(frozen=True)
class Destination:
    """The files for predictions.

    Attributes:
        names: of the samples.
        path: the file with a dataset for each sample, None for no such file.
        assembly_path: the file in which slices are assembled, None for no such file.
        precision: float type of the files.
        slices: which samples are slices of one array.
        classes: class names in the order of the network's outputs.
        partial: whether samples may be missing.
        pictures: the folders for pictures of the outputs, None for none.
        columns: what the columns of all datasets are, () if these are no tables.
        shards: whether those who predict write shards of `path`, which are merged or kept.
    """

    names: Sequence[str]
    path: str | None
    assembly_path: str | None = None
    precision: Precision = "single"
    slices: tuple[Slices, ...] = ()
    classes: tuple[str, ...] = ()
    partial: bool = False
    pictures: PictureDestination | None = None
    columns: tuple[str, ...] = ()
    shards: Sharding = "none"

    @property
    def paths(self) -> list[str]:
        """All files of numbers."""
        return [path for path in (self._final_path, self.assembly_path) if path is not None]

    @property
    def _final_path(self) -> str | None:
        """What leads to all predictions: the file, or the index of shards that no file can link."""
        if self.path is None or self.shards != "keep" or not storage.is_uri(self.path):
            return self.path
        return ShardFolder(self.path).index

    @property
    def gathers(self) -> bool:
        """Whether some files need the outputs of all samples in one process even if there are shards."""
        return self.assembly_path is not None or self.pictures is not None

    @property
    def saved(self) -> list[tuple[str, str]]:
        """What each file or folder contains, and its path."""
        pictures = {} if self.pictures is None else self.pictures.paths
        return [*(("predictions", path) for path in self.paths), *pictures.items()]

    def open(self) -> PredictionFiles:
        """Open the files for writing. Raises DataError if that fails."""
        return PredictionFiles(self)

    def name(self, indices: np.ndarray) -> list[str]:
        """The names of the samples at `indices` (n,)."""
        return [self.names[int(i)] for i in indices]

    def open_file(self, path: str, *, cleans: bool = True) -> PredictionFile:
        """Open a file for datasets like those of `path`. Raises DataError if that fails."""
        return PredictionFile(path, self.classes, self.precision, columns=self.columns, cleans=cleans)

    def without_samples(self) -> Destination:
        """The same without what grows with the number of samples."""
        return dataclasses.replace(self, names=(), slices=(), pictures=None)


class PredictionFiles:
    """The open files of a destination."""

    def __init__(self, destination: Destination):
        self._name = destination.name
        self._file: PredictionFile | None = None
        if destination.path is not None:
            self._file = destination.open_file(destination.path)
            self._shards = ShardFolder(destination.path)
        self._assembly: SliceAssembly | None = None
        self._pictures: PictureFiles | None = None
        if destination.assembly_path is not None:
            try:
                self._assembly = SliceAssembly(
                    destination.assembly_path,
                    destination.slices,
                    destination.precision,
                    partial=destination.partial,
                )
            except DataError:
                self.discard()
                raise
        if destination.pictures is not None:
            from rayrml.inference.picture_files import PictureFiles  # imports torch

            self._pictures = PictureFiles(destination.pictures)

    def write(self, indices: np.ndarray, outputs: Outputs) -> None:
        """Add the rows of `outputs` (n, ...), which belong to the samples at `indices` (n,).

        Raises:
            DataError: they cannot be written; all files are removed.
        """
        with self._whole():
            names = self._name(indices) if self._file is not None else []
            if not isinstance(outputs, np.ndarray):  # tables, which are no slices
                if self._file is not None:
                    self._file.write_rows(names, outputs)
            else:
                if self._file is not None:
                    self._file.write(names, outputs)
                if self._assembly is not None:
                    self._assembly.write(indices, outputs)
            if self._pictures is not None:
                self._pictures.write(indices, outputs)

    def close(self, *, complete: bool = True) -> None:
        """Finish the files and give them their names; the assembled slices only if they are `complete`."""
        with self._whole():
            if self._pictures is not None:
                self._pictures.close()
            if self._file is not None:
                self._file.close()
                self._shards.remove_replaced()
            if self._assembly is not None and complete:
                self._assembly.close()
            elif self._assembly is not None:
                self._assembly.discard()

    def discard(self) -> None:
        """Remove the unfinished files; does not affect closed files, nor pictures that are complete."""
        for file in (self._pictures, self._file, self._assembly):
            if file is not None:
                file.discard()

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Discard the files if one of them cannot be written."""
        try:
            yield
        except DataError:
            self.discard()
            raise


class PredictionFile:
    """An HDF5 file that appears under its name once it is complete.

    Source: h5py's low-level interface; property lists and data spaces are created once for all datasets of a shape.

    Args:
        path: of the file.
        classes: their names, which become an attribute of the file, () for none.
        precision: float type of the datasets.
        columns: what the columns of all datasets are, another attribute, () for none.
        cleans: whether what dead processes left of the file is removed.
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str] = (),
        precision: Precision = "single",
        *,
        columns: Sequence[str] = (),
        cleans: bool = True,
    ):
        self._output = Hdf5Output(path, cleans=cleans)
        self._dtype = np.dtype(DTYPES[precision])
        self._spaces: dict[tuple[int, ...], h5py.h5s.SpaceID] = {}
        with self._output.writing():
            _enlarge_cache(self._output.hdf5)
            for name, texts in (("classes", classes), ("columns", columns)):
                if texts:
                    self._output.hdf5.attrs[name] = np.array(texts, dtype=h5py.string_dtype())
        # HDF5 indexes a group by hashes if one of its names is not ASCII, which gets slower as the group grows.
        self._ascii, self._utf8 = _links(h5py.h5t.CSET_ASCII), _links(h5py.h5t.CSET_UTF8)
        self._compact = self._creation(h5py.h5d.COMPACT)
        self._contiguous = self._creation(h5py.h5d.CONTIGUOUS)

    def write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        """Add a dataset for each of `names` with its row of `outputs` (n, ...)."""
        with self._output.writing():
            self._write(names, as_stored(outputs, self._dtype))

    def write_rows(self, names: Sequence[str], tables: Sequence[np.ndarray]) -> None:
        """Add a dataset for each of `names` with its table (rows, columns), which may have any number of rows."""
        with self._output.writing():
            for name, table in zip(names, tables, strict=True):
                self._write([name], as_stored(table[None], self._dtype))

    def _write(self, names: Sequence[str], outputs: np.ndarray) -> None:
        kind = h5py.h5t.py_create(outputs.dtype)
        shape = outputs.shape[1:]
        if shape not in self._spaces:
            self._spaces[shape] = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
        space = self._spaces[shape]
        layout = self._compact if outputs[:1].nbytes <= _COMPACT_BYTES else self._contiguous
        root = self._output.hdf5.id
        for name, output in zip(names, outputs, strict=True):
            dataset = h5py.h5d.create(root, os.fsencode(name), kind, space, layout, self._link_of(name))
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.asarray(output))

    def copy(self, path: str, names: Sequence[str]) -> None:
        """Add the datasets of these names from another prediction file as they are.

        Raises:
            DataError: the other file cannot be read or lacks one of them, or this one cannot be written.
        """
        with explaining(path, "cannot be read"), hdf5_reading.opened(storage.local_copy(path)) as source:
            root = self._output.hdf5.id
            with self._output.writing():
                for name in names:
                    encoded = os.fsencode(name)
                    h5py.h5o.copy(source.id, encoded, root, encoded, lcpl=self._link_of(name))

    def link(self, name: str, file: str) -> None:
        """Let a name stand for the dataset of that name in another file, whose path is relative to this one's."""
        with self._output.writing():
            encoded = os.fsencode(name)
            links: Any = self._output.hdf5.id.links
            links.create_external(encoded, os.fsencode(file), encoded, lcpl=self._link_of(name))

    def describe(self, attribute: str, text: str) -> None:
        """Add an attribute to the file."""
        with self._output.writing():
            self._output.hdf5.attrs[attribute] = text

    def _link_of(self, name: str) -> h5py.h5p.PropLCID:
        return self._ascii if name.isascii() else self._utf8

    def close(self) -> None:
        """Finish the file and move it to its place."""
        self._output.close()

    def discard(self) -> None:
        """Remove the file, unless it is in its place already."""
        self._output.discard()

    @staticmethod
    def _creation(layout: int) -> h5py.h5p.PropDCID:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(layout)
        properties.set_obj_track_times(False)
        return properties


def _enlarge_cache(file: h5py.File) -> None:
    """Let HDF5 keep more metadata in memory, as far as there is that much."""
    settings = file.id.get_mdc_config()
    settings.set_initial_size = True
    settings.initial_size = settings.min_size = _CACHE_BYTES
    settings.max_size = _MOST_CACHE_BYTES
    file.id.set_mdc_config(settings)


def _links(encoding: int) -> h5py.h5p.PropLCID:
    """The properties of datasets' names: missing groups on the path are created."""
    properties = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    properties.set_create_intermediate_group(True)
    properties.set_char_encoding(encoding)
    return properties


class RemotePredictions:
    """The single writer of files that several workers fill: an actor on the driver's node, where the files belong.

    At most two of a worker's batches are in flight, so slow disks slow workers down instead of filling memory.
    """

    def __init__(self, actor: ActorHandle):
        self._actor = actor
        self._pending: list[ray.ObjectRef] = []

    def write(self, indices: np.ndarray, outputs: Outputs) -> None:
        """Send a batch to the writer."""
        self._pending.append(self._actor.write.remote(indices, outputs))
        if len(self._pending) > 2:
            ray.get(self._pending.pop(0))

    def close(self) -> None:
        """Wait until everything that this worker sent is written."""
        ray.get(self._pending)
        self._pending.clear()

    def discard(self) -> None:
        """Wait until nothing is on its way; the writer itself removes the files."""
        self.close()


class _Writer:
    """The actor behind `RemotePredictions`, which writes the files of one destination after another."""

    def __init__(self) -> None:
        self._files: PredictionFiles | None = None

    def begin(self, destination: Destination) -> None:
        if self._files is not None:
            self._files.discard()
        self._files = destination.open()

    def write(self, indices: np.ndarray, outputs: Outputs) -> None:
        if self._files is None:
            raise RuntimeError("no prediction file is open")
        self._files.write(indices, outputs)

    def finish(self) -> None:
        if self._files is not None:
            self._files.close()
        self._files = None

    def discard(self) -> None:
        if self._files is not None:
            self._files.discard()
        self._files = None


def start_writer() -> ActorHandle:
    """An actor on this process's node, with methods `begin`, `write` and `finish`."""
    writer: Any = ray.remote(_Writer)
    return writer.options(num_cpus=0, scheduling_strategy=pin_to_node()).remote()
