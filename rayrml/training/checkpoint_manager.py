"""What a worker keeps on disk during a run, and how a run resumes from it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from rayrml import storage
from rayrml.config.figures import loss_of
from rayrml.data.reader_keys import PICTURES, describe_reading, describe_targets
from rayrml.errors import DataError, DivergenceError
from rayrml.reporting.messages import BatchRow, Driver, Message, Phase, Removed, Saved
from rayrml.saving import checkpoint_folder, checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.announcer import Announcer
from rayrml.training.checkpoint_writer import CheckpointWriter
from rayrml.training.job import Job
from rayrml.training.retention import find_retention
from rayrml.training.running_statistics import read_statistics, restore_statistics
from rayrml.training.trainee import Kept, Trainee
from rayrml.workers import Workers

_ALL_BATCHES = 2**31
_LONG_EVALUATION = 30.0  # seconds
_LARGEST_SHARE = 0.1  # of the time between two states that writing one may take without a warning


@dataclasses.dataclass
class Progress:
    """How far a run has got.

    Attributes:
        epoch: the next or current epoch.
        batch: number of its batches that are done.
        losses: of these batches, each with what its mean divides by.
        random: the states of this worker's random number generators after them, None if they are not known.
        rows: the figures of the latest steps that may be missing from the log.
        checkpoint: path of the previous epoch's checkpoint, None if there is none.
    """

    epoch: int = 1
    batch: int = 0
    losses: Sequence[tuple[float, ...]] = ()
    random: Sequence[torch.Tensor] | None = None
    rows: Sequence[BatchRow] = ()
    checkpoint: str | None = None


class CheckpointManager:
    """Writes a run's checkpoints and the state from which it can resume; only the first worker writes.

    An epoch is announced once its state is on disk: an epoch that was reported as done is never lost.

    Args:
        job: says what is kept, and where.
        workers: the workers of the run.
        driver: receives the first worker's messages.
    """

    def __init__(self, job: Job, workers: Workers, driver: Driver):
        self._job = job
        self._workers = workers
        self._driver = driver
        self.announcer = Announcer(driver.emit if workers.rank == 0 else _say_nothing)
        self._writer = CheckpointWriter(self._announce)
        self._taken: Future[Checkpoint] | None = None  # of the epoch that is evaluated now
        self._written_at = time.monotonic()
        self._warned = False
        section = job.config.checkpoints
        self._retention = find_retention(
            section,
            tested=job.datasets.test_targets,
            continues_best=bool(job.resume_from) and _holds_best(section.save),
        )

    def resume(self, trainee: Trainee) -> Progress:
        """Load the last state into `trainee`: this run's own if it has lost workers, otherwise an earlier run's."""
        state, path = self._find_state()
        if state is None:
            return Progress()
        trainee.load(state, path)
        trainee.restore(state)
        # Replayed, not loaded: that is the same, and also right if the configuration has changed.
        tested = self._job.datasets.test_targets
        trainee.replay([loss_of(figures, tested=tested) for figures in state.history])
        if trainee.stopping is not None:
            trainee.stopping.replay(state.history)
        trainee.history[:] = state.history
        trainee.seconds = state.seconds
        progress = Progress(state.epoch + 1, rows=_rows(state), checkpoint=self._kept(state.epoch))
        if part := state.unfinished:
            # An epoch that only lacks its evaluation has no batch left, whatever the batches are now.
            progress.batch = _ALL_BATCHES if part.get("trained") else part["batch"]
            progress.losses = part["losses"]
            if not part.get("trained"):
                self._go_on_within(part, trainee, progress)
        return progress

    def _go_on_within(self, part: Mapping[str, Any], trainee: Trainee, progress: Progress) -> None:
        """Restore what each worker has of its own in the middle of an epoch."""
        statistics, random = part["statistics"], part["random"]
        if len(random) == self._workers.size:  # else each worker draws other numbers
            statistics, progress.random = statistics[self._workers.rank :][:1], random[self._workers.rank]
        restore_statistics(trainee.networks, statistics)

    def settle(self) -> None:
        """Wait until the network and the optimizer may change; must be called before they do."""
        self._writer.settle()

    @property
    def is_due(self) -> bool:
        """Whether the state is to be written in the middle of an epoch, as far as this worker can tell."""
        minutes = self._job.config.checkpoints.every_minutes
        return minutes is not None and self._workers.rank == 0 and time.monotonic() > self._written_at + 60 * minutes

    def begin(self, trainee: Trainee, trained: Progress, evaluation_seconds: float | None) -> None:
        """Start keeping the state of an epoch that only lacks its evaluation; all workers must call it.

        The state is copied during the evaluation. It is also written now if the evaluation may take long: whatever
        happens in it, the epoch is not trained again.

        Args:
            trainee: what is kept.
            trained: how far it has got.
            evaluation_seconds: how long the evaluation took the last time; 0 without one, None if that is not known.

        Raises:
            DivergenceError: the network contains numbers that are not finite.
            DataError: an earlier write failed.
        """
        job = self._job
        if not (job.config.checkpoints.save or job.state_path):
            return
        kept = trainee.gather()
        if self._workers.rank:
            return
        _refuse_infinite(kept, f"after epoch {trained.epoch}")
        self._taken = self._take(self._checkpoint(trainee, trained.epoch, kept), trainee)
        if job.state_path and (evaluation_seconds is None or evaluation_seconds > _LONG_EVALUATION):
            # The same copy serves both, and the evaluation begins at once.
            part = self._unfinished(trained, [([], [])] * self._workers.size)
            place = checkpoint_folder.interrupted_path(storage.parent(job.state_path))
            self._writer.write(self._taken, (), place, epoch=trained.epoch - 1, unfinished=part)

    def save(self, trainee: Trainee, epoch: int, *, last: bool) -> None:
        """Start writing the state after an epoch, which has begun to be kept; the epoch is announced once it is there.

        Raises:
            DataError: an earlier write failed.
        """
        job = self._job
        paths = self._list_due(trainee, epoch, last=last)
        if self._taken is None or not (paths or job.state_path):
            self.announcer.release()
            return
        then = functools.partial(self._written, self._retention.outdated(epoch))
        figures = {"history": list(trainee.history), "rows": self._rows(), "seconds": trainee.seconds}
        self._writer.write(self._taken, paths, job.state_path, then=then, **figures)
        self._taken = None
        self._written_at = time.monotonic()

    def save_unfinished(self, trainee: Trainee, progress: Progress, *, wait: bool = True) -> None:
        """Write the state in the middle of an epoch; all workers must call it.

        Raises:
            DivergenceError: the network contains numbers that are not finite; the last state stays.
            DataError: an earlier write failed.
        """
        began = self._written_at = time.monotonic()
        own = self._workers.gather((list(progress.random or ()), read_statistics(trainee.networks, self._workers)))
        job = self._job
        if not job.state_path:
            return
        kept = trainee.gather()
        if self._workers.rank:
            return
        _refuse_infinite(kept, f"in epoch {progress.epoch}, after batch {progress.batch}")
        checkpoint = self._checkpoint(trainee, progress.epoch - 1, kept)
        checkpoint.unfinished = self._unfinished(progress, own)
        place = checkpoint_folder.interrupted_path(storage.parent(job.state_path))
        then = functools.partial(self._report_kept, progress, began)
        self._writer.write(self._take(checkpoint, trainee), (), place, **({} if wait else {"then": then}))
        if wait:
            self._writer.wait()

    def _report_kept(self, progress: Progress, began: float) -> None:
        """Report a state that is on disk, and once if writing takes much of the time between two of them."""
        seconds = time.monotonic() - began
        where = f"after batch {progress.batch} of epoch {progress.epoch}"
        self.announcer(Phase(f"Kept the state {where}, written in {seconds:.1f} s"))
        warning = warn_of_share(seconds, self._job.config.checkpoints.every_minutes)
        if warning is not None and not self._warned:
            self._warned = True
            self.announcer(Phase(warning))

    def _unfinished(self, progress: Progress, own: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        """How far an epoch has got, and the random number generators and the statistics of each worker."""
        return {
            "batch": progress.batch,
            "losses": list(progress.losses),
            "random": [random for random, _ in own],
            "statistics": [statistics for _, statistics in own],
            "layout": self._layout(),
            "trained": progress.random is None,
        }

    def _take(self, checkpoint: Checkpoint, trainee: Trainee) -> Future[Checkpoint]:
        """Start copying; running statistics, which change before the weights do, are copied at once."""
        return self._writer.take(checkpoint, {name for name, _ in trainee.network.named_buffers()})

    def finish(self) -> None:
        """Wait until everything is on disk and announced. Raises DataError if a write failed."""
        try:
            self._writer.wait()
        finally:
            self.announcer.release()

    def give_up(self) -> None:
        """Wait for pending writes and ignore their errors: the error that ended the run is the one to report."""
        with contextlib.suppress(DataError):
            self.finish()

    def _list_due(self, trainee: Trainee, epoch: int, *, last: bool) -> list[str]:
        """The paths of the checkpoints of an epoch that stay."""
        folder = self._job.config.checkpoints.save
        if folder is None:
            return []
        paths = []
        # The best one comes first: an epoch whose own checkpoint is there can be resumed.
        if self._retention.includes_best(trainee.history):
            paths.append(checkpoint_folder.best_path(folder))
        if self._retention.includes(epoch, last=last):
            paths.append(checkpoint_folder.checkpoint_path(folder, epoch))
        return paths

    def _announce(self, path: str) -> None:
        """Report a checkpoint that is on disk; the best one is replaced again and again, without a line for each."""
        is_best = storage.split(path)[1] == checkpoint_folder.BEST
        self.announcer(Saved("best" if is_best else "checkpoint", path))

    def _written(self, outdated: int | None) -> None:
        folder = self._job.config.checkpoints.save
        if outdated is not None and folder is not None:
            path = checkpoint_folder.checkpoint_path(folder, outdated)
            checkpoint_folder.remove(path)
            self.announcer(Removed(path))
        if self._job.state_path:
            # A state from the middle of this epoch is outdated.
            checkpoint_folder.remove(checkpoint_folder.interrupted_path(storage.parent(self._job.state_path)))
        self.announcer.release()

    def _find_state(self) -> tuple[Checkpoint | None, str]:
        """The state to resume from and its path: what the first worker finds, as a shared folder may lag elsewhere."""

        def find() -> tuple[Checkpoint | None, str]:
            own = [(state, path) for path in self._own_states() if (state := self._load_own(path)) is not None]
            return max(own, key=lambda pair: (pair[0].epoch, bool(pair[0].unfinished))) if own else self._earlier()

        return self._workers.ask_first(find)

    def _own_states(self) -> list[str]:
        """Where the state of this run may be: after its last epoch, and in the middle of the next one."""
        path = self._job.state_path
        return [] if path is None else [path, checkpoint_folder.interrupted_path(storage.parent(path))]

    def _load_own(self, path: str) -> Checkpoint | None:
        """The state in a file, if there is one of this run, with batches divided as they are now."""
        try:
            state = checkpoints.load_if_exists(path)
        except checkpoints.LostReference:
            return None
        return state if state is not None and state.run_id == self._job.run_id and self._suits(state) else None

    def _suits(self, state: Checkpoint) -> bool:
        """Whether training can go on from a state: in the middle of an epoch, batches must be divided as then."""
        part = state.unfinished
        return not part or bool(part.get("trained")) or part["layout"] == self._layout()

    def _earlier(self) -> tuple[Checkpoint | None, str]:
        """The state that the run was asked to resume, or the last complete epoch's if batches are split differently."""
        for path in self._job.resume_from:
            state = checkpoints.load(path)
            if self._suits(state):
                return state, path
        return None, ""

    def _kept(self, epoch: int) -> str | None:
        folder = self._job.config.checkpoints.save
        path = None if folder is None else checkpoint_folder.checkpoint_path(folder, epoch)
        return path if path and storage.exists(path) else None

    def _layout(self) -> list[int | str]:
        """What determines which samples are in which batch, for any number of workers."""
        config, training = self._job.config, self._job.datasets.training
        counts = [0] if training is None else [len(group.indices) for group in training.groups()]
        balanced = ["balanced"] if config.data.sampling == "balanced" else []
        # 2: kept samples were in other batches before these were the same for any number of workers.
        kept = 2 * int(config.data.preload)
        return [*counts, config.data.batch_size, config.seed, kept, *balanced]

    def _rows(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._driver.unwritten()]

    def _checkpoint(self, trainee: Trainee, epoch: int, kept: Kept) -> Checkpoint:
        pictures = self._job.picture_choice
        return Checkpoint(
            epoch=epoch,
            network=kept.network,
            layers=self._job.layers,
            input_shape=self._job.network.input_shapes[0],
            classes=self._job.datasets.classes,
            optimizer=kept.optimizer,
            optimizer_type=self._job.optimizer.name if self._job.optimizer else "",
            parameters=kept.parameters,
            history=trainee.history,
            rows=self._rows(),
            seconds=trainee.seconds,
            run_id=self._job.run_id,
            data=describe_reading(self._job.config.data) | ({} if pictures is None else {PICTURES: pictures}),
            loss={"function": self._job.loss.name, **self._job.loss.arguments},
            targets=describe_targets(self._job.config.data),
            metric=self._job.config.metric or "",
            loss_scaling={} if trainee.scaler is None else trainee.scaler.state(),
            ema=kept.average,
            critic=kept.critic,
            detection=self._job.config.detection.model_dump() if self._job.config.app == "obj" else {},
            category_ids=self._job.datasets.category_ids,
        )


def warn_of_share(seconds: float, every_minutes: float | None) -> str | None:
    """A warning if writing a state takes so many `seconds` that states are written too often, else None."""
    if every_minutes is None or seconds <= _LARGEST_SHARE * 60 * every_minutes:
        return None
    enough = math.ceil(seconds / _LARGEST_SHARE / 6) / 10
    return (
        f"Warning: writing the state takes {seconds:.1f} s, more than {_LARGEST_SHARE:.0%} of the {every_minutes:g} "
        f"minutes of checkpoints.every_minutes, and may slow training down. {enough:g} minutes would be enough"
    )


def _holds_best(folder: str | None) -> bool:
    return folder is not None and checkpoint_folder.best_path(folder) in checkpoint_folder.list_times(folder)


def _say_nothing(message: Message) -> None:
    pass


def _rows(state: Checkpoint) -> list[BatchRow]:
    try:
        return [BatchRow(*row) for row in state.rows]
    except TypeError:
        raise DataError("the state to resume from is damaged: its log rows cannot be read") from None


def _refuse_infinite(kept: Kept, when: str) -> None:
    """Raise DivergenceError if a weight is not finite: such a checkpoint is useless, and would replace a good one.

    Besides an average, the weights with which training continues count, and a critic.
    """
    critic = {f"critic: {name}": tensor for name, tensor in kept.critic.get("network", {}).items()}
    for name, tensor in (*kept.network.items(), *kept.average.get("raw", {}).items(), *critic.items()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergenceError(f"'{name}' is not finite {when}")
