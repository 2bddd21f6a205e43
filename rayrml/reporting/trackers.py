"""A run's figures for MLflow and Weights & Biases, sent during training, which a failing server does not affect."""

from __future__ import annotations

import json
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rayrml import storage
from rayrml.errors import describe
from rayrml.reporting.file_names import PLOTS_FOLDER
from rayrml.reporting.messages import EpochDone, Message, Started
from rayrml.reporting.run_files import write_file

PACKAGES = ("mlflow", "wandb")
_EXPERIMENT = "rayrml"  # unless MLFLOW_EXPERIMENT_NAME or WANDB_PROJECT names another one
_LONGEST = 500  # characters of a parameter: servers have a limit
_PATIENCE = 30.0  # seconds at the end for what has not been sent yet
IDS_FILE = "tracking.json"


class Tracker(Protocol):
    """One run on a server. Each method may raise any exception."""

    id: str
    epoch: int  # the last one that the server has

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the figures of an epoch."""

    def file(self, path: str, folder: str) -> None:
        """Add a local file, in this folder of the run."""

    def end(self, *, complete: bool) -> None:
        """End the run."""


class Tracking:
    """Sends a run's figures in a separate thread: a server that does not answer does not block training.

    Whatever could not be sent is retried after the next epoch; problems are reported once.

    Args:
        package: one of `PACKAGES`.
        begin: creates the run on the server, or resumes the run of this name.
        folder: keeps the run's name on the server for resuming it.
        resumed: whether to resume the run of that name.
        say: receives a line about a problem.
    """

    def __init__(
        self,
        package: str,
        begin: Callable[[str | None], Tracker],
        *,
        folder: str,
        resumed: bool,
        say: Callable[[str], None],
    ):
        self._package, self._begin, self._folder, self._say = package, begin, folder, say
        self._resumed = resumed
        self._epochs: dict[int, dict[str, float]] = {}
        self._tracker: Tracker | None = None
        self._told = self._closed = False
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # The process does not wait for a daemon thread, unlike an executor's: a server may never answer.
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def receive(self, message: Message) -> None:
        """Process a worker's message."""
        match message:
            case Started():
                self._work.put(lambda: self._add(message.history))
            case EpochDone(figures):
                self._work.put(lambda: self._add([figures]))
            case _:
                pass

    def finish(self, files: Sequence[str] = (), *, complete: bool = False) -> None:
        """Send the rest and these files, and end the run on the server; waits for a limited time."""
        if self._closed:
            return
        self._closed = True
        self._work.put(lambda: self._end(files, complete))
        self._work.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._tell("no answer")

    def _send(self) -> None:
        while (task := self._work.get()) is not None:
            try:
                task()
            except Exception as error:  # whatever it is, training is not affected
                self._tell(describe(error))

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._say(f"{self._package} did not receive everything; training continues: {reason}")

    def _add(self, history: Sequence[Mapping[str, float]]) -> None:
        self._epochs |= {int(figures["epoch"]): dict(figures) for figures in history}
        self._flush()

    def _flush(self) -> Tracker:
        tracker = self._tracker or self._opened()
        for epoch in sorted(self._epochs):
            if epoch > tracker.epoch:
                tracker.figures(epoch, {k: v for k, v in self._epochs[epoch].items() if k != "epoch"})
                tracker.epoch = epoch
        self._epochs.clear()
        return tracker

    def _opened(self) -> Tracker:
        path = storage.join(self._folder, IDS_FILE)
        known: dict[str, str] = json.loads(storage.read(path)) if storage.exists(path) else {}
        self._tracker = self._begin(known.get(self._package) if self._resumed else None)
        write_file(path, json.dumps({**known, self._package: self._tracker.id}).encode())
        return self._tracker

    def _end(self, files: Sequence[str], complete: bool) -> None:
        tracker = self._flush()
        for path in files:
            _upload(tracker, path)
        tracker.end(complete=complete)


def prepare_mlflow(name: str, config: Mapping[str, Any]) -> Callable[[str | None], Tracker]:
    """A function that starts a run of MLflow, on the server of MLFLOW_TRACKING_URI."""
    return lambda known: _MLflow(name, config, known)


def prepare_wandb(name: str, config: Mapping[str, Any], folder: str) -> Callable[[str | None], Tracker]:
    """A function that starts a run of Weights & Biases, as configured by WANDB_MODE, WANDB_PROJECT and the like."""
    return lambda known: _Wandb(name, config, folder, known)


class _MLflow:
    def __init__(self, name: str, config: Mapping[str, Any], known: str | None):
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        self.epoch, self.id = 0, ""
        if known is not None:
            try:
                steps = [point.step for point in self._client.get_metric_history(known, "train_loss")]
                self._client.update_run(known, status="RUNNING")
                self.epoch, self.id = max(steps, default=0), known
                return
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        known_experiment = self._client.get_experiment_by_name(wanted)
        experiment = known_experiment.experiment_id if known_experiment else self._client.create_experiment(wanted)
        self.id = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in list_parameters(config):
            self._client.log_param(self.id, key, value)

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._client.log_metric(self.id, key, value, step=epoch)

    def file(self, path: str, folder: str) -> None:
        self._client.log_artifact(self.id, path, folder or None)

    def end(self, *, complete: bool) -> None:
        self._client.set_terminated(self.id, "FINISHED" if complete else "KILLED")


class _Wandb:
    def __init__(self, name: str, config: Mapping[str, Any], folder: str, known: str | None):
        import wandb

        offline = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun")
        if not offline and not wandb.login(prompt=False):
            raise RuntimeError("there is no key for its server. Run `wandb login`, or set WANDB_MODE=offline")
        self.epoch = 0
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _EXPERIMENT),
            name=name,
            id=known,
            resume="allow" if known else None,
            config=dict(list_parameters(config)),
            dir=None if storage.is_uri(folder) else folder,
            settings=wandb.Settings(silent=True, console="off", init_timeout=_PATIENCE),
        )
        self.id = self._run.id

    def figures(self, epoch: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=epoch)

    def file(self, path: str, folder: str) -> None:
        place = Path(self._run.dir) / folder / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(Path(path).read_bytes())
        self._run.save(str(place), base_path=self._run.dir, policy="now")

    def end(self, *, complete: bool) -> None:
        self._run.finish(exit_code=0 if complete else 1)


def list_parameters(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """A configuration's values by their dotted keys, without the network, whose file is sent with the run."""
    for key, value in config.items():
        place = f"{path}.{key}" if path else key
        if place == "neural_network.layers" or value is None:
            continue
        if isinstance(value, Mapping):
            yield from list_parameters(value, place)
        else:
            shown = value if isinstance(value, str) else json.dumps(value)
            yield place.removeprefix("neural_network."), shown[:_LONGEST]


def _upload(tracker: Tracker, path: str) -> None:
    """Add a file, which may be in an object store; one from a folder `plots` goes into the run's folder `plots`."""
    folder = PLOTS_FOLDER if storage.split(storage.parent(path))[1] == PLOTS_FOLDER else ""
    if not storage.is_uri(path):
        tracker.file(path, folder)
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / storage.split(path)[1]
        copy.write_bytes(storage.read(path))
        tracker.file(str(copy), folder)
