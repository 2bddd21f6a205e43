"""The messages from workers to the driver, which shows and records them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rayrml.data.bad_samples import BadSamples

if TYPE_CHECKING:
    from rayrml.metrics import Evaluation


class BatchRow(NamedTuple):
    """One training step.

    Attributes:
        epoch: from 1.
        batch: from 1.
        seconds: of training until then, including earlier runs that this one resumes.
        loss: mean over the global batch.
        gradient_norm: norm of the global batch's gradient.
        data: seconds spent getting the batch.
        compute: seconds in forward, backward and update.
        reduce: seconds spent exchanging gradients.
        num_samples: samples of the global batch.
        terms: the terms of the loss that lines show, see `Loss.term_symbols`; not a number where one is unknown.
    """

    epoch: int
    batch: int
    seconds: float
    loss: float
    gradient_norm: float
    data: float
    compute: float
    reduce: float
    num_samples: int
    terms: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Started:
    """Training begins with this epoch: the first, or the one after the last saved epoch.

    Attributes:
        epoch: from 1.
        batch: batches of it that are done.
        resumed: whether the run resumes an earlier one.
        history: the figures of earlier epochs.
        rows: the last earlier steps, if it is not known whether the driver has written them.
        seconds: of training until then.
        checkpoint: path of the previous epoch's checkpoint, None if there is none.
        num_workers: number of training workers.
    """

    epoch: int
    batch: int = 0
    resumed: bool = False
    history: tuple[dict[str, float], ...] = ()
    rows: tuple[BatchRow, ...] = ()
    seconds: float = 0.0
    checkpoint: str | None = None
    num_workers: int = 1


@dataclasses.dataclass(frozen=True)
class Phase:
    """Something that takes a while before or between batches."""

    text: str


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Bad samples that are skipped; those named before are not named again.

    Attributes:
        bad: the bad samples.
        num_batches: batches of a pass over the other samples, None if the number is unchanged.
    """

    bad: BadSamples
    num_batches: int | None = None


@dataclasses.dataclass(frozen=True)
class BatchesTrained:
    """The steps since the last such message.

    Attributes:
        rows: one row per step.
        gpu_bytes: peak GPU memory of the first worker so far, 0 without a GPU.
        memory: bytes of the machine's memory that the first worker uses.
        learning_rate: learning rate of these steps.
    """

    rows: list[BatchRow]
    gpu_bytes: int = 0
    memory: int = 0
    learning_rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One pass over the test samples.

    Attributes:
        epoch: epochs trained, 1 if only evaluating.
        num_batches: batches of the pass.
        seconds: duration of the pass.
        found: what it has found.
    """

    epoch: int
    num_batches: int
    seconds: float
    found: Evaluation


@dataclasses.dataclass(frozen=True)
class FinalTested:
    """The one pass over the samples of the final test, after training.

    Attributes:
        epoch: the epoch whose model it was.
        num_samples: samples of the pass.
        found: what it has found; with figures of each class of pixels, too.
    """

    epoch: int
    num_samples: int
    found: Evaluation

    @property
    def figures(self) -> dict[str, float]:
        """The epoch, the number of samples, the loss and the metric by their names."""
        loss = {} if self.found.loss is None else {"loss": self.found.loss}
        return {"epoch": self.epoch, "samples": self.num_samples, **loss, **self.found.figures}


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch has ended: the figures `OF_TRAINING`, and those of the evaluation."""

    figures: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Removed:
    """A checkpoint is no longer there: newer ones have taken its place."""

    path: str


@dataclasses.dataclass(frozen=True)
class Saved:
    """A file is complete."""

    kind: str
    path: str


@dataclasses.dataclass(frozen=True)
class Interrupted:
    """The workers have stopped early, as requested.

    Attributes:
        epoch: the interrupted epoch.
        batch: batches of it that are done.
    """

    epoch: int
    batch: int


@dataclasses.dataclass(frozen=True)
class Failed:
    """A worker met an error that a restart cannot fix."""

    error: Exception


Message = (
    Started
    | Phase
    | Skipped
    | BatchesTrained
    | Evaluated
    | FinalTested
    | EpochDone
    | Saved
    | Removed
    | Interrupted
    | Failed
)

Emit = Callable[[Message], None]


class Driver(Protocol):
    """The driver, as a worker sees it."""

    def emit(self, message: Message) -> None:
        """Send it a message."""
        ...

    def asked_to_stop(self) -> bool:
        """Whether it asks the workers to stop."""
        ...

    def unwritten(self) -> Sequence[BatchRow]:
        """The rows sent to it that would be lost with it or on the way to it."""
        ...


class Broadcast:
    """Passes workers' messages to several receivers in order, one message at a time."""

    def __init__(self, *receivers: Emit):
        self._receivers = receivers
        self._lock = threading.RLock()

    def __call__(self, message: Message) -> None:
        """Pass a message on.

        Raises:
            Exception: the error of a `Failed` message, or one that a receiver raises.
        """
        if isinstance(message, Failed):
            raise message.error
        with self._lock:  # checkpoints are announced from the thread that writes them
            for receive in self._receivers:
                receive(message)
