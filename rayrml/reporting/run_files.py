"""What a run writes next to its checkpoints: its configuration, where it ran, and its figures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.config.variables import escape
from rayrml.errors import explaining
from rayrml.metrics import ClassCounts, PartNames
from rayrml.metrics.average_precision import AveragePrecisions
from rayrml.metrics.evaluation import BoxDetails
from rayrml.reporting import confusion_table, history
from rayrml.reporting.file_names import CLASSES, CONFIG, CONFUSION_TABLE, DATA, ENVIRONMENT, METRICS, PLOTS, REPORT
from rayrml.reporting.messages import EpochDone, Evaluated, FinalTested, Message, Started
from rayrml.reporting.run_state import RunState
from rayrml.saving import checkpoint_folder

_LARGEST_SHARE = 0.05  # of the time may go into writing the history, which is long after many short epochs


class Record:
    """Keeps the files of one run in sync with its workers' messages.

    It must receive a message after the run's state, whose history it writes.

    Args:
        folder: folder of the files, None for no files.
        state: state of the run.
        names: what the parts are called that have figures of their own.
        trains: whether epochs are trained, whose history is kept; an evaluation has none.

    Attributes:
        confusion: (classes, classes) of the last epoch's evaluation, None if there is none.
    """

    def __init__(
        self,
        folder: str | None,
        state: RunState,
        names: PartNames = PartNames(),  # noqa: B008 (frozen)
        *,
        trains: bool = True,
    ):
        self.folder = folder
        self._state = state
        self._names = names
        self._trains = trains
        self._evaluated: Evaluated | None = None
        self._tested: FinalTested | None = None
        self._pending = False
        self._began = self._spent = 0.0

    @property
    def history(self) -> list[dict[str, float]]:
        """The figures of each epoch."""
        return self._state.history

    @property
    def evaluated(self) -> bool:
        """Whether the last epoch was evaluated now, and not before the run was resumed."""
        return self._last is not None

    @property
    def confusion(self) -> np.ndarray | None:
        """How often each class was predicted as which class after the last epoch."""
        details = None if self._last is None else self._last.found.details
        return details.counts if isinstance(details, ClassCounts) else None

    @property
    def average_precisions(self) -> AveragePrecisions | None:
        """How well the boxes of each class were found after the last epoch."""
        details = None if self._last is None else self._last.found.details
        return details.found if isinstance(details, BoxDetails) else None

    @property
    def _last(self) -> Evaluated | None:
        """The evaluation of the last epoch."""
        done = self._evaluated
        return done if done and self.history and done.epoch == self.history[-1]["epoch"] else None

    def begin(
        self, config: Mapping[str, Any], environment: Mapping[str, Any], data: Mapping[str, Any], *, resumed: bool
    ) -> None:
        """Write what is known before training, and remove an earlier run's files that this one might not replace.

        Raises:
            DataError: a file cannot be written or removed.
        """
        if self.folder is None:
            return
        self._write(CONFIG, to_json(escape(config)))
        self._write(ENVIRONMENT, to_json(environment))
        self._write(DATA, to_json(data))
        if self._names.classes:
            self._write(CLASSES, to_json(self._names.classes))
        earlier = (METRICS, CONFUSION_TABLE, REPORT, *PLOTS.values(), *(() if self._names.classes else (CLASSES,)))
        for name in () if resumed else earlier:
            checkpoint_folder.remove(storage.join(self.folder, *name.split("/")))

    def receive(self, message: Message) -> None:
        """Process a worker's message. Raises DataError if the history cannot be written."""
        match message:
            case Evaluated():
                self._evaluated = message
                return
            case FinalTested():
                self._tested = message
                return
            case Started() | EpochDone():
                pass
            case _:
                return
        self._pending = self.folder is not None and self._trains
        if time.monotonic() - self._began >= self._spent / _LARGEST_SHARE:
            self.flush()

    def flush(self) -> None:
        """Write the history if it has changed. Raises DataError if it cannot be written."""
        if self._pending:
            self._pending = False
            self._began = time.monotonic()
            self._write(history.FILE, history.to_csv(self.history))
            self._spent = time.monotonic() - self._began

    def finish(self) -> None:
        """Write the run's results, unless they exist already. Raises DataError if they cannot be written."""
        self.flush()
        if self.folder is None or not self.history:
            return
        path = storage.join(self.folder, METRICS)
        # A run that was already complete when it was resumed has evaluated nothing, or the final test alone.
        if self._evaluated is not None or not storage.exists(path):
            self._write(METRICS, to_json(self.metrics()))
            if self.confusion is not None:
                self._write(CONFUSION_TABLE, confusion_table.to_csv(self.confusion, self._names.classes))
            else:  # that of before the run was resumed is of another evaluation than the metrics
                checkpoint_folder.remove(storage.join(self.folder, CONFUSION_TABLE))
        elif self._tested is not None:
            self._write(METRICS, to_json({**_read_json(path), **self._final_test()}))

    def metrics(self) -> dict[str, Any]:
        """The figures of the last and the best epoch, and those of each class after the last epoch."""
        figures: dict[str, Any] = {"final": self.history[-1], "best": history.find_best(self.history)}
        return figures | self._parts(self._last) | self._final_test()

    def _final_test(self) -> dict[str, Any]:
        """The figures of the final test under a key of its own, {} if there was none."""
        if self._tested is None:
            return {}
        return {"final_test": {**self._tested.figures, **self._parts(self._tested)}}

    def final_test_parts(self) -> dict[str, dict[str, float]]:
        """The figures of each class or number in the final test, none if they are unknown."""
        return self._by_part(self._tested)

    def parts(self) -> dict[str, dict[str, float]]:
        """The figures of each class or number after the last epoch, none if they are unknown."""
        return self._by_part(self._last)

    def _parts(self, done: Evaluated | FinalTested | None) -> dict[str, dict[str, dict[str, float]]]:
        """The same for a file, under a key that says what they are; {} if there are none."""
        found = self._by_part(done)
        return {"columns" if self._names.values else "classes": found} if found else {}

    def _by_part(self, done: Evaluated | FinalTested | None) -> dict[str, dict[str, float]]:
        details = None if done is None else done.found.details
        return {} if details is None else details.by_part(self._names)

    def _write(self, name: str, content: bytes) -> None:
        write_file(storage.join(self.folder or "", name), content)


def write_file(path: str, content: bytes) -> None:
    """Write a file. Raises DataError if that fails."""
    with explaining(path, "cannot be written"):
        storage.write(path, content)


def _read_json(path: str) -> dict[str, Any]:
    """The object in a file that a run wrote. Raises DataError if it cannot be read."""
    with explaining(path, "cannot be read"):
        return json.loads(storage.read(path))


def to_json(value: Any) -> bytes:
    """A value as the content of a file for people, with null for numbers that JSON does not support."""
    return (json.dumps(_finite(value), indent=4, ensure_ascii=False) + "\n").encode(errors="surrogateescape")


def _finite(value: Any) -> Any:
    """The value, with null for numbers that JSON does not support."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
