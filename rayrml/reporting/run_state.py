"""The state of a run so far, as reported by its workers."""

from __future__ import annotations

from rayrml.reporting.messages import (
    BatchesTrained,
    EpochDone,
    FinalTested,
    Interrupted,
    Message,
    Removed,
    Saved,
    Skipped,
    Started,
)


class RunState:
    """The state of one run so far.

    Args:
        num_batches: batches of an epoch, as planned.

    Attributes:
        history: the figures of each epoch: `epoch`, `train_loss`, `learning_rate`, `seconds` and, with test data,
            `test_loss` and the metric's name.
        saved: paths of the files that the run wrote, by kind.
        skipped: numbers of the skipped samples, by dataset.
        num_batches: batches of an epoch without these samples.
        num_workers: number of training workers, 0 before training begins.
        interrupted: where the workers stopped early, None if they did not.
        final_test: the results of the final test, None if there was none.
        gpu_bytes: peak GPU memory of the first worker in training, 0 without a GPU.
    """

    def __init__(self, num_batches: int = 0):
        self.history: list[dict[str, float]] = []
        self.saved: dict[str, list[str]] = {}
        self.skipped: dict[str, set[int]] = {}
        self.num_batches = num_batches
        self.num_workers = 0
        self.interrupted: Interrupted | None = None
        self.final_test: FinalTested | None = None
        self.gpu_bytes = 0

    @property
    def trains(self) -> bool:
        """Whether training has begun."""
        return self.num_workers > 0

    def receive(self, message: Message) -> None:
        """Process a worker's message."""
        match message:
            case Started():
                if path := self.unreported_checkpoint(message):
                    self._add("checkpoint", path)
                self.num_workers = message.num_workers
                self.history = list(message.history)
            case Skipped():
                self._skip(message)
            case BatchesTrained():
                self.gpu_bytes = max(self.gpu_bytes, message.gpu_bytes)
            case EpochDone(figures):
                self.history.append(figures)
            case Saved(kind, path):
                self._add(kind, path)
            case Removed(path):
                self.saved["checkpoint"] = [other for other in self.saved.get("checkpoint", []) if other != path]
            case FinalTested():
                self.final_test = message
            case Interrupted():
                self.interrupted = message

    def unreported_checkpoint(self, started: Started) -> str | None:
        """A checkpoint of this run whose worker was lost before it could report it, None if there is none."""
        path = started.checkpoint if self.trains else None
        return None if path in self.saved.get("checkpoint", ()) else path

    def _skip(self, skipped: Skipped) -> None:
        bad = skipped.bad
        self.skipped.setdefault(bad.name, set()).update(bad.numbers)
        if skipped.num_batches is not None and bad.name == "training":
            self.num_batches = skipped.num_batches

    def _add(self, kind: str, path: str) -> None:
        paths = self.saved.setdefault(kind, [])
        if path not in paths:  # some are rewritten after each epoch
            paths.append(path)
