"""The driver's side of shards: they are merged into one file while others are written, or kept and linked."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import ray
import ray.exceptions

from rayrml import storage
from rayrml.cluster.nodes import pin_to_node
from rayrml.errors import ClusterError, DataError, Problem, explaining
from rayrml.inference.prediction_files import Destination, PredictionFile
from rayrml.inference.shard_folder import ATTRIBUTE, ShardFolder, in_order_of_file, write_index
from rayrml.saving.run_lock import locked


class ShardCollection:
    """The shards of one run, as the driver learns of them.

    Args:
        destination: whose file of predictions they make up; its `shards` says whether they are merged or kept.
        folder: of the shards.
        say: told of a wait for another run that writes shards into the folder.

    Raises:
        DataError: another run writes shards into the folder, or it cannot be written to.
    """

    def __init__(self, destination: Destination, folder: ShardFolder, say: Callable[[str], None]):
        self.token = secrets.token_hex(4)
        self._destination = destination
        self._folder = folder
        self._samples: dict[str, list[np.ndarray]] = {}  # of each shard
        self._whole: list[str] = []
        self._closed = False
        self._held = contextlib.ExitStack()
        self._merging: _Merging | None = None
        self._held.enter_context(locked(folder.path, say))
        try:
            with explaining(folder.path, "cannot be accessed"):
                folder.remove(keep=folder.find_current())
            if destination.shards == "merge":
                self._merging = _Merging(folder.target, destination)
        except BaseException:
            self.discard()
            raise

    def take(self, indices: np.ndarray, shard: str, *, whole: bool) -> None:
        """Note that the samples at `indices` (n,) are in a shard, which is `whole` once all of them have been noted.

        Raises:
            DataError: the shard cannot be found, or the merged file cannot be written.
        """
        if shard:
            self._samples.setdefault(shard, []).append(indices)
        if not whole:
            return
        self._whole.append(shard)
        if self._merging is not None:
            self._merging.add(self._folder.shard(shard), self._names_in(shard))
            del self._samples[shard]
        elif not storage.is_uri(self._folder.path):
            path = self._folder.shard(shard)
            with explaining(path, "cannot be accessed"):
                if not storage.exists(path):
                    raise DataError(Problem(path, "is missing: another process has removed it. Predict again"))

    def close(self) -> None:
        """Give the predictions their final name, and remove what they replace. Raises DataError if that fails."""
        if self._merging is not None:
            self._merging.close()
        else:
            self._keep()
        self._closed = True
        self._leave(keep=() if self._merging is not None else (self.token,))

    def discard(self) -> None:
        """Remove this run's shards, unless they are in place."""
        if self._closed:
            return
        self._closed = True
        if self._merging is not None:
            self._merging.discard()
        self._leave(keep=self._folder.find_current())

    def _keep(self) -> None:
        """Write the index and, on this machine's file systems, the file of links to the shards."""
        shard_of = {name: shard for shard in self._whole for name in self._names_in(shard)}
        names = in_order_of_file(shard_of)
        write_index(self._folder.index, ((name, shard_of[name]) for name in names))
        target = self._folder.target
        if storage.is_uri(target):  # links lead from file to file of a file system
            with explaining(target, "cannot be removed"):
                storage.remove(target)  # the predictions of an earlier run
            return
        file = self._destination.open_file(target)
        try:
            file.describe(ATTRIBUTE, self.token)
            for name in names:
                file.link(name, f"{self._folder.name}/{shard_of[name]}")
            file.close()
        except BaseException:
            file.discard()
            raise

    def _leave(self, *, keep: Collection[str]) -> None:
        """Release the folder, and remove all shards in it but these."""
        with contextlib.suppress(OSError):  # the predictions are in place, or another error is being raised
            self._folder.remove(keep=keep)
        self._held.close()
        self._folder.remove_if_empty()

    def _names_in(self, shard: str) -> list[str]:
        return self._destination.name(np.concatenate(self._samples[shard]))


class _Merging:
    """An actor on the driver's machine that copies one shard after another into the file, and what it has to do."""

    def __init__(self, target: str, destination: Destination):
        merger: Any = ray.remote(_Merger)
        options = {"num_cpus": 0, "scheduling_strategy": pin_to_node()}
        # The names of all samples, which the actor does not need, may be many.
        self._actor = merger.options(**options).remote()
        begun = self._actor.begin.remote(target, destination.without_samples())
        self._pending: list[ray.ObjectRef] = [begun]

    def add(self, path: str, names: list[str]) -> None:
        """Have a shard merged. Raises DataError if an earlier one could not be."""
        self._pending.append(self._actor.add.remote(path, names))
        done, self._pending = ray.wait(self._pending, num_returns=len(self._pending), timeout=0)
        _answers(done)

    def close(self) -> None:
        """Wait until the file is complete."""
        _answers(self._pending)  # a file that lacks a shard must not get its name
        _answers([self._actor.finish.remote()])

    def discard(self) -> None:
        """Give up the file."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.discard.remote())


def _answers(references: list[ray.ObjectRef]) -> None:
    """Wait for calls of the actor. Raises DataError as they did, and ClusterError if the actor is lost."""
    try:
        ray.get(references)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError:
        message = "the process that merges shards of predictions was lost, perhaps for lack of memory. Predict again"
        raise ClusterError(message) from None


class _Merger:
    """The actor behind `_Merging`. A shard is removed once its datasets are in the file."""

    def __init__(self) -> None:
        self._files: list[PredictionFile] = []  # one, unless it cannot be opened

    def begin(self, target: str, destination: Destination) -> None:
        self._files.append(destination.open_file(target))

    def add(self, path: str, names: list[str]) -> None:
        for file in self._files:
            file.copy(path, names)
        with explaining(path, "cannot be removed"):
            storage.remove(path)

    def finish(self) -> None:
        for file in self._files:
            file.close()

    def discard(self) -> None:
        for file in self._files:
            file.discard()
