"""What a worker keeps of a run on disk, and how it goes on from there."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import torch

from rayrml import storage
from rayrml.data.reader_keys import describe_reading
from rayrml.errors import DataError, DivergenceError
from rayrml.lr_schedulers import Schedule
from rayrml.networks.network import Network
from rayrml.reporting.messages import BatchRow, Driver, Emit, Message, Saved
from rayrml.saving import checkpoint_folder, checkpoint_writer, checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.early_stopping import EarlyStopping
from rayrml.training.job import Job
from rayrml.workers import Workers


@dataclasses.dataclass
class Trainee:
    """What training changes.

    Attributes:
        network: on its device.
        optimizer: of its parameters.
        schedule: of the optimizer's learning rate, None for a constant one.
        stopping: what ends the run early, None for nothing.
        history: the figures of all epochs so far.
        seconds: of training so far.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Schedule | None
    stopping: EarlyStopping | None
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


@dataclasses.dataclass
class Progress:
    """Where a run is.

    Attributes:
        epoch: the one that is next, or under way.
        batch: batches of it that are done.
        losses: of these batches, with their numbers of samples.
        random: the states of this worker's random numbers after them, None if none are done.
        rows: the figures of the last steps, as far as they may be missing in the log.
        checkpoint: path of the checkpoint of the epoch before, None if there is none.
    """

    epoch: int = 1
    batch: int = 0
    losses: Sequence[tuple[float, int]] = ()
    random: Sequence[torch.Tensor] | None = None
    rows: Sequence[BatchRow] = ()
    checkpoint: str | None = None


class CheckpointManager:
    """Writes a run's checkpoints and the state that it can go on from; only the first of the workers does.

    An epoch is announced when its state is on disk: what was said to be done is never lost.

    Args:
        job: says what is kept, and where.
        workers: who works on it.
        driver: the first worker's messages go there.
    """

    def __init__(self, job: Job, workers: Workers, driver: Driver):
        self._job = job
        self._workers = workers
        self._driver = driver
        self.announcer = Announcer(driver.emit if workers.rank == 0 else _say_nothing)
        self._writer = checkpoint_writer.CheckpointWriter(lambda path: self.announcer(Saved("checkpoint", path)))

    def resume(self, trainee: Trainee) -> Progress:
        """Put the run's last state into `trainee`: this run's if workers were lost in it, else an earlier one's."""
        path = self._job.state_path or ""
        state = checkpoints.load_if_exists(path) if path else None
        if state is None or state.run_id != self._job.run_id:
            state, path = self._earlier()
        if state is None:
            return Progress()
        checkpoints.load_into(trainee.network, state.network, path)
        trainee.optimizer.load_state_dict(state.optimizer)
        if trainee.schedule is not None and state.scheduler:
            trainee.schedule.load_state_dict(state.scheduler)
        if trainee.stopping is not None and state.stopping:
            trainee.stopping.load_state_dict(state.stopping)
        trainee.history[:] = state.history
        trainee.seconds = state.seconds
        progress = Progress(state.epoch + 1, rows=_rows(state), checkpoint=self._kept(state.epoch))
        if part := state.unfinished:
            progress.batch, progress.losses = part["batch"], part["losses"]
            progress.random = part["random"][self._workers.rank]
        return progress

    def save(self, trainee: Trainee, epoch: int, *, last: bool) -> None:
        """Begin to write what an epoch has come to, and announce it when that is done.

        Raises:
            DivergenceError: the network holds numbers that are not finite.
            DataError: what was to be written before could not be.
        """
        job = self._job
        section = job.config.checkpoints
        due = section.save is not None and (epoch % section.interval == 0 or last)
        if self._workers.rank or not (due or job.state_path):
            self.announcer.release()
            return
        _refuse_infinite(trainee.network, epoch)
        path = checkpoint_folder.checkpoint_path(section.save, epoch) if due and section.save is not None else None
        self._writer.save(self._checkpoint(trainee, epoch), path, job.state_path, then=self._written)

    def save_unfinished(self, trainee: Trainee, progress: Progress) -> None:
        """Write what a part of an epoch has come to, for a run that is interrupted; all workers must call it."""
        random = self._workers.gather(list(progress.random or ()))
        job = self._job
        if self._workers.rank or not job.state_path:
            return
        checkpoint = self._checkpoint(trainee, progress.epoch - 1)
        checkpoint.unfinished = {
            "batch": progress.batch,
            "losses": list(progress.losses),
            "random": random,
            "layout": self._layout(),
        }
        self._writer.save(checkpoint, None, checkpoint_folder.interrupted_path(storage.parent(job.state_path)))
        self._writer.wait()

    def finish(self) -> None:
        """Wait until everything is on disk and announced. Raises DataError if it cannot be written."""
        try:
            self._writer.wait()
        finally:
            self.announcer.release()

    def give_up(self) -> None:
        """Wait for what is being written; what came first is what went wrong."""
        with contextlib.suppress(DataError):
            self.finish()

    def _written(self) -> None:
        if self._job.state_path:
            # What it had of this epoch is outdated.
            checkpoint_folder.remove(checkpoint_folder.interrupted_path(storage.parent(self._job.state_path)))
        self.announcer.release()

    def _earlier(self) -> tuple[Checkpoint | None, str]:
        """The state that the run was asked to go on from, or the last whole epoch if the workers are others now."""
        for path in self._job.resume_from:
            state = checkpoints.load(path)
            if not state.unfinished or state.unfinished["layout"] == self._layout():
                return state, path
        return None, ""

    def _kept(self, epoch: int) -> str | None:
        folder = self._job.config.checkpoints.save
        path = None if folder is None else checkpoint_folder.checkpoint_path(folder, epoch)
        return path if path and storage.exists(path) else None

    def _layout(self) -> list[int]:
        """What decides which samples are in which batch of which worker."""
        config, training = self._job.config, self._job.datasets.training
        count = 0 if training is None else len(training.samples)
        return [count, config.data.batch_size, config.seed, int(config.data.preload), self._workers.size]

    def _checkpoint(self, trainee: Trainee, epoch: int) -> Checkpoint:
        return Checkpoint(
            epoch=epoch,
            network=trainee.network.state_dict(),
            layers=self._job.layers,
            input_shape=self._job.network.input_shapes[0],
            classes=self._job.datasets.classes,
            optimizer=trainee.optimizer.state_dict(),
            scheduler=trainee.schedule.state_dict() if trainee.schedule else {},
            stopping=trainee.stopping.state_dict() if trainee.stopping else {},
            history=trainee.history,
            rows=[tuple(row) for row in self._driver.unwritten()],
            seconds=trainee.seconds,
            run_id=self._job.run_id,
            data=describe_reading(self._job.config.data),
            loss={"function": self._job.loss.name, **self._job.loss.arguments},
        )


class Announcer:
    """Passes messages on; while it holds them back, they wait for their release, in the order in which they came."""

    def __init__(self, emit: Emit):
        self._emit = emit
        self._lock = threading.RLock()
        self._holding = False
        self._waiting: list[Message] = []

    def __call__(self, message: Message) -> None:
        """Pass a message on, or keep it."""
        with self._lock:
            if self._holding:
                self._waiting.append(message)
            else:
                self._emit(message)

    def hold(self) -> None:
        """Keep what comes from now on."""
        with self._lock:
            self._holding = True

    def release(self) -> None:
        """Pass on what has come since."""
        with self._lock:
            self._holding = False
            waiting, self._waiting = self._waiting, []
            for message in waiting:
                self._emit(message)


def _say_nothing(message: Message) -> None:
    pass


def _rows(state: Checkpoint) -> list[BatchRow]:
    try:
        return [BatchRow(*row) for row in state.rows]
    except TypeError:
        raise DataError("the state to go on from is damaged: what it holds as rows is not") from None


def _refuse_infinite(network: torch.nn.Module, epoch: int) -> None:
    """A checkpoint of such numbers would be of no use, and take the place of one that is."""
    states: dict[str, Any] = network.state_dict()
    for name, tensor in states.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergenceError(f"'{name}' is not finite after epoch {epoch}")
