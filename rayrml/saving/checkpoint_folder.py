"""The folder of a run's checkpoints: how its files are called, which there are, and whether the run came to its end."""

from __future__ import annotations

import re
from pathlib import Path

from rayrml import storage
from rayrml.errors import explaining

_STATE, _INTERRUPTED = "last_epoch.pt", "interrupted.pt"
_NAME = re.compile(r"model_checkpoint_(\d+)\.pt")


def checkpoint_path(folder: str | Path, epoch: int) -> str:
    """Where the checkpoint of an epoch lies."""
    return storage.join(folder, f"model_checkpoint_{epoch}.pt")


def state_path(folder: str | Path) -> str:
    """Where the last finished epoch of a run that goes on is kept, whatever the interval of checkpoints is."""
    return storage.join(folder, _STATE)


def interrupted_path(folder: str | Path) -> str:
    """Where a run that was interrupted within an epoch is kept."""
    return storage.join(folder, _INTERRUPTED)


def list_checkpoints(folder: str | Path) -> dict[int, str]:
    """The checkpoints in a folder by their epochs, in order; none if there is no such folder.

    Raises:
        DataError: the folder cannot be listed.
    """
    matches = (_NAME.fullmatch(name) for name in _list_files(folder))
    epochs = sorted(int(match[1]) for match in matches if match)
    return {epoch: checkpoint_path(folder, epoch) for epoch in epochs}


def list_times(folder: str | Path) -> dict[str, float]:
    """When each file in a folder was changed, by path; none if there is no such folder.

    Raises:
        DataError: the folder cannot be listed.
    """
    return {storage.join(folder, name): changed for name, changed in _list_files(folder).items()}


def is_interrupted(folder: str | Path) -> bool:
    """Whether the last run in a folder did not come to its end. Raises DataError if the folder cannot be listed."""
    return not _list_files(folder).keys().isdisjoint((_STATE, _INTERRUPTED))


def remove(path: str) -> None:
    """Remove a checkpoint or a file beside one, if it is there. Raises DataError if that fails."""
    with explaining(path, "cannot be removed"):
        storage.remove(path)


def _list_files(folder: str | Path) -> dict[str, float]:
    with explaining(folder, "cannot be listed"):
        return storage.files(folder)
