"""Which of the files in a folder of checkpoints its last run can go on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rayrml.saving.checkpoint_folder import interrupted_path, list_checkpoints, list_times, state_path
from rayrml.saving.checkpoints import load

Figures = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class _File:
    """A file of a run's state.

    Attributes:
        path: where it is.
        changed: when.
        named_epoch: the epoch of its name; 0 if the name tells none, as those of states do.
    """

    path: str
    changed: float
    named_epoch: int

    @property
    def is_state(self) -> bool:
        """Whether it is kept for going on alone: the last whole epoch, or a part of one."""
        return self.named_epoch == 0


@dataclasses.dataclass(frozen=True)
class _State:
    """What such a file holds.

    Attributes:
        path: of the file.
        epoch: whole epochs.
        is_partial: whether part of another epoch is done.
        history: the figures of the whole epochs.
    """

    path: str
    epoch: int
    is_partial: bool
    history: Sequence[Figures]


def find_resumable(folder: str | Path) -> list[str]:
    """The files that the last run in a folder can go on from, the best first: of part of an epoch, of whole epochs.

    A folder may hold files of several runs: an earlier, longer one has left checkpoints that the last run has not
    replaced yet. The last run's are the file that was changed last, and all whose history agrees with that file's.

    Raises:
        DataError: the folder cannot be listed, or a file cannot be loaded.
    """
    files = _list_files(folder)
    if not files:
        return []
    # Of files that were copied all may have the same time: then the longest run is the last one.
    last = max(files, key=lambda file: (file.changed, file.named_epoch))
    longest = max(files, key=lambda file: file.named_epoch)
    states = [file for file in files if file.is_state]
    if last == longest and not states:
        return [last.path]  # nothing else can be better, so that there is no need to load it
    loaded = {file: _load(file) for file in dict.fromkeys([last, longest, *states])}
    return _rank([state for state in loaded.values() if _agree(state.history, loaded[last].history)])


def _rank(states: Sequence[_State]) -> list[str]:
    """The paths of the states of one run that are of use: partial ones that are not outdated, then the last whole one.

    Of whole ones of the same epoch, the checkpoint comes before the state, which goes when the run ends.
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


def _load(file: _File) -> _State:
    checkpoint = load(file.path)
    epoch = file.named_epoch or checkpoint.epoch
    return _State(file.path, epoch, bool(checkpoint.unfinished), checkpoint.history)


def _agree(history: Sequence[Figures], other: Sequence[Figures]) -> bool:
    """Whether one of the histories goes on where the other one ends."""
    return all(mine == theirs for mine, theirs in zip(history, other, strict=False))
