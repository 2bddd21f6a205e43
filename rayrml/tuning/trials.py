"""The trials of a search: the status of each, the files that record it, and the best trial."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rayrml import storage
from rayrml.config.json_files import format_value, read_json
from rayrml.config.search_spaces import Space
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.reporting.file_names import SEARCH_FILES, TRIALS_FOLDER
from rayrml.reporting.history import Figures, find_best, to_cost
from rayrml.reporting.run_files import to_json, write_file
from rayrml.saving import checkpoint_folder

STATE, TABLE, PLOT, BEST_CONFIG, BEST_MODEL = SEARCH_FILES
_COLUMNS = ("trial", "status", "epochs", "best_epoch", "seconds")

Status = Literal["running", "done", "stopped", "failed"]


@dataclasses.dataclass
class Trial:
    """One set of values, and how far its training got.

    Attributes:
        number: from 1.
        values: by the names of their spaces.
        status: `running`, `done`, `stopped` early because others were better, or `failed`.
        history: the figures of each epoch.
        reason: why it failed.
    """

    number: int
    values: dict[str, Any]
    status: Status = "running"
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    reason: str = ""

    def best(self, figure: str) -> Figures | None:
        """The epoch with the best figure, None if there is none."""
        return find_best(self.history, figure)

    @property
    def seconds(self) -> float:
        """The duration of its epochs."""
        return sum(epoch.get("seconds", 0.0) for epoch in self.history)

    @property
    def text(self) -> str:
        """Its values, in short."""
        names = short_names(list(self.values))
        return ", ".join(f"{name} = {brief(value)}" for name, value in zip(names, self.values.values(), strict=True))


class Trials:
    """All trials of a search, in sync with their files.

    Args:
        folder: folder of the files.
        figure: what trials are ranked by.
        spaces: what is searched for.
    """

    def __init__(self, folder: str, figure: str, spaces: Sequence[Space]):
        self.folder = folder
        self.figure = figure
        self.trials: dict[int, Trial] = {}
        self._spaces = [{"name": space.name, space.kind: list(space.values)} for space in spaces]

    def resume(self) -> None:
        """Load the finished trials from the file, if there is one.

        Raises:
            DataError: it cannot be read.
            ConfigError: they belong to another search.
        """
        path = storage.join(self.folder, STATE)
        if not storage.exists(path):
            return
        state = read_json(path)
        try:
            same = state["figure"] == self.figure and state["spaces"] == json.loads(json.dumps(self._spaces))
            found = [Trial(**trial) for trial in state["trials"]]
        except (KeyError, TypeError):
            raise DataError(Problem(path, "is not a list of trials from `rayrml tune`")) from None
        if not same:
            message = f"'{self.folder}' holds a search with other values or another metric. Expected another folder"
            raise ConfigError(Problem("neural_network.checkpoints.save", message))
        for trial in found:  # null stands for a number that JSON does not support
            trial.history = [{k: v for k, v in epoch.items() if v is not None} for epoch in trial.history]
        self.trials = {trial.number: trial for trial in found if trial.status != "running"}

    def path(self, number: int) -> str:
        """The folder of a trial."""
        return storage.join(self.folder, TRIALS_FOLDER, f"{number:03}")

    @property
    def finished(self) -> list[Trial]:
        """The trials that have ended."""
        return [trial for trial in self.trials.values() if trial.status != "running"]

    def best(self) -> Trial | None:
        """The finished trial with the best figure of all epochs, None if there is none."""
        known = [(best, trial) for trial in self.finished if (best := trial.best(self.figure)) is not None]
        return min(known, key=lambda pair: to_cost(pair[0], self.figure), default=(None, None))[1]

    def over(self, trial: Trial, status: Status, reason: str = "") -> None:
        """Record the end of a trial, and keep only the checkpoint of the best trial's best epoch.

        Raises:
            DataError: files cannot be written or removed.
        """
        before = self.best()
        trial.status, trial.reason = status, reason
        leader = self.best()
        self._prune(trial, keep=trial is leader)
        if before is not None and before is not leader:
            self._prune(before, keep=False)
        self.save()

    def save(self) -> None:
        """Write the state and the table. Raises DataError if that fails."""
        state = {"figure": self.figure, "spaces": self._spaces, "trials": list(map(dataclasses.asdict, self.ordered()))}
        write_file(storage.join(self.folder, STATE), to_json(state))
        write_file(storage.join(self.folder, TABLE), self._csv())

    def ordered(self) -> list[Trial]:
        """The trials, best first; those without a figure last."""

        def rank(trial: Trial) -> tuple[float, int]:
            best = trial.best(self.figure)
            return (math.inf if best is None else to_cost(best, self.figure), trial.number)

        return sorted(self.trials.values(), key=rank)

    def model(self) -> str | None:
        """The checkpoint of the best trial's best epoch; None if there is none."""
        leader = self.best()
        if leader is None:
            return None
        folder = self.path(leader.number)
        best = checkpoint_folder.best_path(folder)
        return best if best in checkpoint_folder.list_times(folder) else None

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Headings and cells of the table on the screen, the best trial first."""
        names = list(next(iter(self.trials.values())).values) if self.trials else []
        rows = []
        for trial in self.ordered():
            best = trial.best(self.figure)
            cells = [brief(trial.values[name]) for name in names]
            figures = [f"{best[self.figure]:.4f}", f"{best['epoch']:g}"] if best else ["-", "-"]
            rows.append(
                [str(trial.number), *cells, *figures, str(len(trial.history)), f"{trial.seconds:.1f}", trial.status]
            )
        return ["Trial", *short_names(names), self.figure, "Best epoch", "Epochs", "Seconds", "Status"], rows

    def _prune(self, trial: Trial, *, keep: bool) -> None:
        folder = self.path(trial.number)
        ended = [checkpoint_folder.state_path(folder), checkpoint_folder.interrupted_path(folder)]
        for path in ended if keep else [*ended, checkpoint_folder.best_path(folder)]:
            checkpoint_folder.remove(path)

    def _csv(self) -> bytes:
        names = list(next(iter(self.trials.values())).values) if self.trials else []
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*_COLUMNS, self.figure, *names])
        for trial in self.ordered():
            best = trial.best(self.figure) or {}
            cells = [trial.values[name] for name in names]
            plain = [cell if isinstance(cell, str | int | float) else json.dumps(cell) for cell in cells]
            figures = [len(trial.history), best.get("epoch", ""), round(trial.seconds, 3), best.get(self.figure, "")]
            rows.writerow([trial.number, trial.status, *figures, *plain])
        return text.getvalue().encode()


def brief(value: Any) -> str:
    """A value as it is shown in tables and lines."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping) and (named := [key for key in ("type", "function") if key in value]):
        rest = ", ".join(f"{key}={brief(item)}" for key, item in value.items() if key != named[0])
        return f"{value[named[0]]} ({rest})" if rest else str(value[named[0]])
    return value if isinstance(value, str) else format_value(value, 40)


def short_names(names: Sequence[str]) -> list[str]:
    """The shortest last parts of dotted names that distinguish them."""
    parts = [name.split(".") for name in names]
    for depth in range(1, max(map(len, parts), default=1)):
        found = [".".join(each[-depth:]) for each in parts]
        if len(set(found)) == len(found):
            return found
    return list(names)
