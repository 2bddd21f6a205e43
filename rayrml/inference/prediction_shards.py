"""Shards of predictions: the process that computes outputs writes them, so that they need not travel to one writer."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining
from rayrml.inference.prediction_files import Destination, Outputs, PredictionFile
from rayrml.inference.shard_folder import ShardFolder, name_shard

Block = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ShardWriter:
    """Writes the outputs of each task into a shard of their own.

    Attributes:
        destination: whose file of predictions the shards make up.
        folder: of the shards.
        token: of the run.
        indices: (n,) the samples that the tasks' places stand for.
    """

    destination: Destination
    folder: ShardFolder
    token: str
    indices: np.ndarray

    def write(self, parts: Iterable[Block]) -> Iterator[Block]:
        """Write the outputs of a task's parts into a shard, and yield the parts.

        Instead of `output`, which is left out unless the writer of pictures or slices needs it, they have `shard`, the
        shard's name, "" as long as the task has none; `whole`, whether the shard is complete, which the last part says;
        and `failure`, why it cannot be written, "" if it can. A shard gets its name before the last part is yielded.
        """
        with contextlib.ExitStack() as stack:
            open_shard: _Shard | None = None
            last: Block | None = None
            for part in parts:
                if last is not None:
                    yield self._described(last, open_shard)
                last = part
                good = [i for i, error in enumerate(part["error"]) if not error]
                if not good:
                    continue
                indices = self.indices[part["place"][good]]
                try:
                    if open_shard is None:
                        open_shard = self._begin(int(indices[0]))
                        stack.callback(open_shard.file.discard)  # does nothing once it is closed
                    open_shard.write(self.destination.name(indices), outputs_of(part["output"][good]))
                except DataError as error:
                    yield self._described(part, None, failure=str(error))
                    return
            if last is not None:
                yield self._finished(last, open_shard)

    def _finished(self, last: Block, shard: _Shard | None) -> Block:
        try:
            if shard is not None:
                shard.file.close()
        except DataError as error:
            return self._described(last, None, failure=str(error))
        return self._described(last, shard, whole=shard is not None)

    def _described(self, part: Block, shard: _Shard | None, *, whole: bool = False, failure: str = "") -> Block:
        count = len(part["place"])
        said = {"shard": "" if shard is None else shard.name, "whole": whole, "failure": failure}
        kept = ("place", "error", "output") if self.destination.gathers else ("place", "error")
        return {key: part[key] for key in kept} | {key: np.full(count, value, object) for key, value in said.items()}

    def _begin(self, first: int) -> _Shard:
        """A new shard. Raises DataError if this machine does not see the folder, or it cannot be written to."""
        folder = self.folder
        if not storage.is_uri(folder.path):
            with explaining(folder.path, "cannot be accessed"):
                shared = storage.exists(folder.lock)
            if not shared:
                message = f"is missing on {socket.gethostname()}, which writes shards. Expected a folder that all"
                cure = 'machines share, an object store (s3://...), or "hdf5_shards": "none"'
                raise DataError(Problem(folder.path, f"{message} {cure}"))
        name = name_shard(self.token, first)
        return _Shard(name, self.destination.open_file(folder.shard(name), cleans=False))


@dataclasses.dataclass(frozen=True)
class _Shard:
    """An open shard: its name and its file."""

    name: str
    file: PredictionFile

    def write(self, names: list[str], outputs: Outputs) -> None:
        if isinstance(outputs, np.ndarray):
            self.file.write(names, outputs)
        else:
            self.file.write_rows(names, outputs)


def outputs_of(column: np.ndarray) -> Outputs:
    """The outputs in a block's column; Ray gives arrays of different shapes as an array of objects."""
    return list(column) if column.dtype == object else column
