"""Checkpoints that are written while training continues."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from rayrml import storage
from rayrml.saving.checkpoints import Checkpoint, save, save_reference


class CheckpointWriter:
    """Copies and writes checkpoints in its own thread, one at a time, while the caller goes on.

    Args:
        saved: called in the thread with the path of each checkpoint once it is on disk.
    """

    def __init__(self, saved: Callable[[str], None]):
        self._saved = saved
        # Python waits for its thread before the process ends, so a started write is completed.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._copying: Future[Checkpoint] | None = None
        self._writing: list[Future[None]] = []

    def take(self, checkpoint: Checkpoint, changing: Collection[str] = ()) -> Future[Checkpoint]:
        """Start copying the tensors of a checkpoint; `settle` must be called before the caller changes them.

        Those of the network in `changing` are copied before this returns.

        Raises:
            DataError: the previous checkpoint could not be written.
        """
        self.wait()
        network = {name: _copied(tensor) if name in changing else tensor for name, tensor in checkpoint.network.items()}
        taken = dataclasses.replace(checkpoint, network=network, history=list(checkpoint.history))
        self._copying = self._executor.submit(_copy, taken, frozenset(changing), _computed())
        return self._copying

    def settle(self) -> None:
        """Wait until everything taken is copied. Raises what went wrong in copying."""
        if self._copying is not None:
            copying, self._copying = self._copying, None
            copying.result()

    def write(
        self,
        taken: Future[Checkpoint],
        paths: Sequence[str],
        state: str | None,
        then: Callable[[], None] = lambda: None,
        **fields: Any,
    ) -> None:
        """Start writing a copy to `paths`, where it stays, and to `state`, replacing the last one.

        One of `paths` in the folder of `state` serves as the state too, which then only names it.

        Args:
            taken: what `take` returned.
            paths: of checkpoints.
            state: path of the state, None for none.
            then: called in the thread when all are on disk.
            fields: of the checkpoint, which have changed since it was taken.
        """
        self._writing.append(self._executor.submit(self._write, taken, fields, (paths, state), then))

    def wait(self) -> None:
        """Wait until everything is on disk. Raises DataError if a write failed."""
        concurrent.futures.wait(self._writing)  # if this is interrupted, the next call waits again
        written, self._writing = self._writing, []
        for each in written:
            each.result()

    def _write(
        self,
        taken: Future[Checkpoint],
        fields: Mapping[str, Any],
        places: tuple[Sequence[str], str | None],
        then: Callable[[], None],
    ) -> None:
        checkpoint = dataclasses.replace(taken.result(), **fields)
        paths, state = places
        for number, path in enumerate(paths):
            if not number or not storage.link(paths[0], path):
                save(path, checkpoint)
            self._saved(path)
        beside = [path for path in paths if state is not None and storage.parent(path) == storage.parent(state)]
        if beside and state is not None:
            save_reference(state, beside[-1])
        elif state is not None:
            save(state, checkpoint)
        then()


def _computed() -> torch.cuda.Event | None:
    """An event after everything that the GPU has been given to do; None without a GPU in use."""
    if not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event()
    event.record()
    return event


def _copy(checkpoint: Checkpoint, done: Collection[str], computed: torch.cuda.Event | None) -> Checkpoint:
    """The checkpoint with copies of its tensors; a GPU copies them while it computes other things."""
    with contextlib.ExitStack() as stack:
        if computed is not None:
            stream = torch.cuda.Stream()
            stream.wait_event(computed)
            stack.enter_context(torch.cuda.stream(stream))
        network = {name: value if name in done else _copied(value) for name, value in checkpoint.network.items()}
        others = {name: _copied(getattr(checkpoint, name)) for name in ("optimizer", "ema", "loss_scaling", "critic")}
        return dataclasses.replace(checkpoint, network=network, **others)


def _copied(state: Any) -> Any:
    """A copy of nested lists and mappings, with their tensors in the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
