"""A run's checkpoint folder: the names of its files, which of them exist, and whether the run finished."""

from __future__ import annotations

import re
from pathlib import Path

from rayrml import storage
from rayrml.errors import explaining

_STATE, _INTERRUPTED = "last_epoch.pt", "interrupted.pt"
_NAME = re.compile(r"model_checkpoint_(\d+)\.pt")


def checkpoint_path(folder: str | Path, epoch: int) -> str:
    """The path of an epoch's checkpoint."""
    return storage.join(folder, f"model_checkpoint_{epoch}.pt")


def state_path(folder: str | Path) -> str:
    """The path of an unfinished run's state after its last complete epoch, whatever the checkpoint interval."""
    return storage.join(folder, _STATE)


def interrupted_path(folder: str | Path) -> str:
    """The path of the state of a run that was interrupted in the middle of an epoch."""
    return storage.join(folder, _INTERRUPTED)


def list_checkpoints(folder: str | Path) -> dict[int, str]:
    """The checkpoints in a folder by epoch, in order; none if the folder does not exist.

    Raises:
        DataError: the folder cannot be listed.
    """
    matches = (_NAME.fullmatch(name) for name in _list_files(folder))
    epochs = sorted(int(match[1]) for match in matches if match)
    return {epoch: checkpoint_path(folder, epoch) for epoch in epochs}


def list_times(folder: str | Path) -> dict[str, float]:
    """The modification time of each file in a folder, by path; none if the folder does not exist.

    Raises:
        DataError: the folder cannot be listed.
    """
    return {storage.join(folder, name): changed for name, changed in _list_files(folder).items()}


def is_interrupted(folder: str | Path) -> bool:
    """Whether the last run in a folder did not finish. Raises DataError if the folder cannot be listed."""
    return not _list_files(folder).keys().isdisjoint((_STATE, _INTERRUPTED))


def remove(path: str) -> None:
    """Remove a checkpoint or a file next to one, if it exists. Raises DataError if that fails."""
    with explaining(path, "cannot be removed"):
        storage.remove(path)


def _list_files(folder: str | Path) -> dict[str, float]:
    with explaining(folder, "cannot be listed"):
        return storage.files(folder)
