"""The runs below a folder, from the files that they leave."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining
from rayrml.reporting import history
from rayrml.reporting.file_names import CONFIG, METRICS
from rayrml.saving import checkpoint_folder, run_lock

_FAILED = "cannot be read"


@dataclasses.dataclass(frozen=True)
class ListedRun:
    """A run as its folder shows it.

    Attributes:
        folder: its path.
        state: done, running, or stopped before its end.
        num_epochs: the epochs that the configuration asked for, None if that is unknown.
        history: the figures of each epoch.
        changed: when its figures changed last, in seconds since 1970.
        settings: what often differs between runs: learning rate, batch size, ...
    """

    folder: str
    state: str
    num_epochs: int | None
    history: list[dict[str, float]]
    changed: float
    settings: Mapping[str, Any]

    @property
    def best(self) -> history.Figures | None:
        """The figures of the best epoch."""
        return history.find_best(self.history)

    @property
    def metric(self) -> str | None:
        """The name of the metric, None if there is none."""
        return history.find_metric(self.history)


def list_runs(folder: str) -> tuple[list[ListedRun], list[Problem]]:
    """The runs in a folder and in folders below it, oldest first; and what is wrong with those that cannot be read.

    Raises:
        DataError: the folder does not exist, or cannot be listed.
    """
    with explaining(folder, _FAILED, (OSError, ValueError)):
        if not storage.is_folder(folder):
            raise DataError(Problem(folder, "does not exist, or is not a folder"))
        folders = list(_find_folders(folder))
    runs: list[ListedRun] = []
    problems: list[Problem] = []
    for place in folders:
        try:
            runs.append(_read(place))
        except DataError as error:
            problems += error.problems
    return sorted(runs, key=lambda run: (run.changed, run.folder)), problems


def _find_folders(folder: str) -> Iterator[str]:
    """The folders with a run's files."""
    if storage.is_uri(folder):
        files, _ = storage.walk(folder)
        found = {name.rpartition("/")[0] for name in files if name.rpartition("/")[2] in (CONFIG, history.FILE)}
        for below in sorted(found):
            yield storage.join(folder, *below.split("/")) if below else folder
        return
    for place, below, files in os.walk(folder, onerror=_raise if Path(folder).is_dir() else None):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if history.FILE in files or CONFIG in files:
            yield place


def _raise(error: OSError) -> None:
    if not isinstance(error, PermissionError):  # a folder of somebody else has no runs that can be shown
        raise error


def _read(folder: str) -> ListedRun:
    file = storage.join(folder, history.FILE)
    with explaining(folder, _FAILED):
        changes = storage.files(folder)
        figures = history.from_csv(storage.read(file), file) if history.FILE in changes else []
        config = _read_config(storage.join(folder, CONFIG)) if CONFIG in changes else {}
        running = run_lock.is_locked(folder)
    wanted = config.get("num_epochs")
    complete = METRICS in changes and not checkpoint_folder.is_interrupted(folder)  # they are written last
    return ListedRun(
        folder=folder,
        state="running" if running else "done" if complete else "stopped",
        num_epochs=wanted if isinstance(wanted, int) else None,
        history=figures,
        changed=changes.get(history.FILE, changes.get(CONFIG, 0.0)),
        settings=_pick_settings(config),
    )


def _read_config(path: str) -> Mapping[str, Any]:
    """The section `neural_network` of a recorded configuration. Raises DataError if it is something else."""
    try:
        section = json.loads(storage.read(path))["neural_network"]
    except (ValueError, KeyError, TypeError):
        section = None
    if not isinstance(section, dict):
        raise DataError(Problem(path, "is not the configuration of a run"))
    return section


def _pick_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    optimizer, data, loss = (config.get(name) or {} for name in ("optimizer", "data", "loss"))
    return {
        "optimizer": optimizer.get("type"),
        "learning_rate": optimizer.get("learning_rate"),
        "batch_size": data.get("batch_size"),
        "loss": loss.get("function"),
    }
