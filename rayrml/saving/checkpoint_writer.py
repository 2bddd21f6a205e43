"""Checkpoints that are written while training continues."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from rayrml.saving.checkpoints import Checkpoint, save


class CheckpointWriter:
    """Writes checkpoints in its own thread, one at a time, while training continues.

    Args:
        saved: called in the thread with the path of each checkpoint once it is on disk.
    """

    def __init__(self, saved: Callable[[str], None]):
        self._saved = saved
        # Python waits for its thread before the process ends, so a started write is completed.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def save(
        self,
        checkpoint: Checkpoint,
        paths: Sequence[str],
        state: str | None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Start writing a copy of the checkpoint to `paths`, where it stays, and to `state`, replacing the last one.

        `then` is called in the thread when all are on disk.

        Raises:
            DataError: the previous checkpoint could not be written.
        """
        self.wait()
        copied = dataclasses.replace(
            checkpoint,
            network=_copied(checkpoint.network),
            optimizer=_copied(checkpoint.optimizer),
            ema=_copied(checkpoint.ema),
            loss_scaling=_copied(checkpoint.loss_scaling),
            history=list(checkpoint.history),
        )
        self._writing = self._executor.submit(self._write, copied, paths, state, then)

    def wait(self) -> None:
        """Wait until everything is on disk. Raises DataError if a write failed."""
        if self._writing is None:
            return
        concurrent.futures.wait([self._writing])  # if this is interrupted, the next call waits again
        written, self._writing = self._writing, None
        written.result()

    def _write(self, checkpoint: Checkpoint, paths: Sequence[str], state: str | None, then: Callable[[], None]) -> None:
        for path in paths:
            save(path, checkpoint)
            self._saved(path)
        if state is not None:
            save(state, checkpoint)
        then()


def _copied(state: Any) -> Any:
    """A copy of nested lists and mappings, with their tensors in the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
