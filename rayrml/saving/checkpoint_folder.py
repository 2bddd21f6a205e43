"""A run's checkpoint folder: the names of its files, which of them exist, and whether the run finished."""

from __future__ import annotations

import re
from pathlib import Path

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining

_STATE, _INTERRUPTED = "last_epoch.pt", "interrupted.pt"
BEST = "best.pt"
_NAME = re.compile(r"model_checkpoint_(\d+)\.pt")


def checkpoint_path(folder: str | Path, epoch: int) -> str:
    """The path of an epoch's checkpoint."""
    return storage.join(folder, f"model_checkpoint_{epoch}.pt")


def epoch_of(path: str) -> int | None:
    """The epoch in a checkpoint's name, None if it has none."""
    match = _NAME.fullmatch(storage.split(path)[1])
    return int(match[1]) if match else None


def is_checkpoint(name: str) -> bool:
    """Whether a file with this name is a checkpoint, or the state of an unfinished run."""
    return name in (BEST, _STATE, _INTERRUPTED) or _NAME.fullmatch(name) is not None


def best_path(folder: str | Path) -> str:
    """The path of the best epoch's checkpoint."""
    return storage.join(folder, BEST)


def find_model(path: str | Path, where: str = "") -> str:
    """The checkpoint that a path means: the file itself or, of a run's folder, the best epoch's or else the last one.

    `where` is the JSON path that names it.

    Raises:
        DataError: there is no such file, or the folder holds no checkpoint, or cannot be listed.
    """
    with explaining(path, "cannot be read"):
        is_file = storage.is_file(str(path))
        is_folder = not is_file and storage.is_folder(str(path))
        if not is_folder and not storage.exists(str(path)):
            raise DataError(Problem(where or str(path), f"no such file: '{path}'"))
    if not is_folder:
        return str(path)
    if BEST in _list_files(path):
        return best_path(path)
    there = list(list_checkpoints(path).values())
    if not there:
        message = f"is a folder without a checkpoint. Expected a file, or a run's folder with {BEST} in it"
        raise DataError(Problem(str(path), message))
    return there[-1]


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
    epochs = sorted(epoch for name in _list_files(folder) if (epoch := epoch_of(name)) is not None)
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
