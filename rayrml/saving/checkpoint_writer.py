"""Checkpoints written while training goes on."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from rayrml.saving.checkpoints import Checkpoint, save


class CheckpointWriter:
    """Writes checkpoints in a thread of its own, one at a time, while training goes on.

    Args:
        saved: called with the path of each checkpoint that is on disk; in the thread.
    """

    def __init__(self, saved: Callable[[str], None]):
        self._saved = saved
        # Its thread is waited for when the process ends: what was begun gets onto the disk.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def save(
        self,
        checkpoint: Checkpoint,
        path: str | None,
        state: str | None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to write the checkpoint as it is now to `path`, as one that stays, and to `state`, over the last one.

        `then` is called when both are on disk; in the thread.

        Raises:
            DataError: the checkpoint before this one could not be written.
        """
        self.wait()
        copied = dataclasses.replace(
            checkpoint,
            network=_copied(checkpoint.network),
            optimizer=_copied(checkpoint.optimizer),
            history=list(checkpoint.history),
        )
        self._writing = self._executor.submit(self._write, copied, path, state, then)

    def wait(self) -> None:
        """Wait until everything is on disk. Raises DataError if it cannot be written."""
        if self._writing is None:
            return
        concurrent.futures.wait([self._writing])  # an interruption here leaves it to the next call
        written, self._writing = self._writing, None
        written.result()

    def _write(self, checkpoint: Checkpoint, path: str | None, state: str | None, then: Callable[[], None]) -> None:
        if path is not None:
            save(path, checkpoint)
            self._saved(path)
        if state is not None:
            save(state, checkpoint)
        then()


def _copied(state: Any) -> Any:
    """Nested lists and mappings of tensors, the tensors copied into the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
