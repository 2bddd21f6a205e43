"""Checkpoints written while training goes on."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
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
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

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
        self._thread = threading.Thread(target=self._write, args=(copied, path, state, then))
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is on disk. Raises DataError if it cannot be written."""
        if self._thread is not None:
            self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _write(self, checkpoint: Checkpoint, path: str | None, state: str | None, then: Callable[[], None]) -> None:
        try:
            if path is not None:
                save(path, checkpoint)
                self._saved(path)
            if state is not None:
                save(state, checkpoint)
            then()
        except BaseException as error:  # handed to the thread that waits
            self._error = error


def _copied(state: Any) -> Any:
    """Nested lists and mappings of tensors, the tensors copied into the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
