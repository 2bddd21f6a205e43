"""Finds the files in a checkpoint folder from which its last run can resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rayrml.saving.checkpoint_folder import interrupted_path, list_checkpoints, list_times, state_path
from rayrml.saving.checkpoints import LostReference, load

Figures = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class _File:
    """A checkpoint or state file of a run.

    Attributes:
        path: of the file.
        changed: its modification time.
        named_epoch: the epoch in its name; 0 for state files, whose names contain none.
    """

    path: str
    changed: float
    named_epoch: int

    @property
    def is_state(self) -> bool:
        """Whether it is kept only for resuming: the state after the last complete epoch, or in the middle of one."""
        return self.named_epoch == 0


@dataclasses.dataclass(frozen=True)
class _State:
    """The contents of such a file.

    Attributes:
        path: of the file.
        epoch: number of complete epochs.
        is_partial: whether part of another epoch is done.
        history: the figures of the complete epochs.
    """

    path: str
    epoch: int
    is_partial: bool
    history: Sequence[Figures]


def find_resumable(folder: str | Path) -> list[str]:
    """The files from which the last run in a folder can resume, best first: a partial epoch, then complete epochs.

    A folder may contain files of several runs: an earlier, longer run may have left checkpoints that the last run has
    not replaced yet. The last run's files are the one that was modified last, and all whose history agrees with it.

    Raises:
        DataError: the folder cannot be listed, or a file cannot be loaded.
    """
    files = _list_files(folder)
    if not files:
        return []
    # Copied files may all have the same time: then the longest run counts as the last one.
    last = max(files, key=lambda file: (file.changed, file.named_epoch))
    longest = max(files, key=lambda file: file.named_epoch)
    states = [file for file in files if file.is_state]
    if last == longest and not states:
        return [last.path]  # nothing can be better, so it need not be loaded
    loaded = {file: _load(file) for file in dict.fromkeys([last, longest, *states])}
    complete = {file: state for file, state in loaded.items() if state is not None}
    newest = complete.get(last) or next(iter(complete.values()), None)
    return [] if newest is None else _rank([s for s in complete.values() if _agree(s.history, newest.history)])


def _rank(states: Sequence[_State]) -> list[str]:
    """The useful states of one run, as paths: partial ones that are not outdated, then the last complete one.

    Of complete ones with the same epoch, the checkpoint precedes the state, which is deleted when the run ends.
    """
    whole = [state for state in states if not state.is_partial]
    furthest = max(whole, key=lambda state: (state.epoch, state.path), default=None)
    if furthest is None:
        return [state.path for state in states]
    ahead = [state.path for state in states if state.is_partial and state.epoch >= furthest.epoch]
    return [*ahead, furthest.path]


def _list_files(folder: str | Path) -> list[_File]:
    named_epochs = {path: epoch for epoch, path in list_checkpoints(folder).items()}
    paths = [*named_epochs, state_path(folder), interrupted_path(folder)]
    times = list_times(folder)
    return [_File(path, times[path], named_epochs.get(path, 0)) for path in paths if path in times]


def _load(file: _File) -> _State | None:
    """The contents of a file; None if they were in another file that has been removed since."""
    try:
        checkpoint = load(file.path)
    except LostReference:
        return None
    epoch = file.named_epoch or checkpoint.epoch
    return _State(file.path, epoch, bool(checkpoint.unfinished), checkpoint.history)


def _agree(history: Sequence[Figures], other: Sequence[Figures]) -> bool:
    """Whether one of the histories continues the other one."""
    return all(mine == theirs for mine, theirs in zip(history, other, strict=False))
