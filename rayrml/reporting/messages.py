"""What workers say to the driver, which shows it and writes it down."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from rayrml.data.bad_samples import BadSamples


class BatchRow(NamedTuple):
    """One training step.

    Attributes:
        epoch: from 1.
        batch: from 1.
        seconds: of training until then, with what runs before it took that this one goes on from.
        loss: mean over the global batch.
        gradient_norm: of the global batch's gradient.
        data: seconds spent on getting the batch.
        compute: seconds in forward, backward and update.
        reduce: seconds in which workers exchanged gradients.
        num_samples: of the global batch.
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


@dataclasses.dataclass(frozen=True)
class Started:
    """Training begins with this epoch: the first, or the one after the last that was kept.

    Attributes:
        epoch: from 1.
        batch: batches of it that are done.
        resumed: whether the run was asked to go on where an earlier one ended.
        history: the figures of the epochs before.
        rows: the last steps before, if it is not known whether the driver has written them down.
        seconds: of training until then.
        checkpoint: path of the checkpoint of the epoch before, None if there is none.
        num_workers: who train.
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
    """Bad samples that are left out; those that were named before are not named again.

    Attributes:
        bad: which they are.
        num_batches: batches of a pass over the others, None if they stay as many.
    """

    bad: BadSamples
    num_batches: int | None = None


@dataclasses.dataclass(frozen=True)
class BatchesTrained:
    """The steps since the last such message.

    Attributes:
        rows: one for each.
        gpu_bytes: the most memory of the first worker's GPU that was taken so far, 0 without a GPU.
        memory: bytes of the machine's memory that the first worker has.
        learning_rate: of these steps.
    """

    rows: list[BatchRow]
    gpu_bytes: int = 0
    memory: int = 0
    learning_rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One pass over the test samples.

    Attributes:
        epoch: epochs trained, 1 for evaluation alone.
        num_batches: batches of the pass.
        loss: mean over all samples, None if there are no targets.
        metric: name of the metric, "" if there is none.
        value: the metric over all samples, None if there is none.
        seconds: duration of the pass.
        confusion: (classes, classes) int64, how often each true class (row) was taken for which (column); None where
            samples have not one label each. An array, because who passes it on need not know torch.
    """

    epoch: int
    num_batches: int
    loss: float | None
    metric: str
    value: float | None
    seconds: float
    confusion: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch is over: the figures `OF_TRAINING`, and what evaluation gave."""

    figures: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Saved:
    """A file was finished."""

    kind: str
    path: str


@dataclasses.dataclass(frozen=True)
class Interrupted:
    """The workers have ended early, as they were asked to.

    Attributes:
        epoch: the one that was under way.
        batch: batches of it that are done.
    """

    epoch: int
    batch: int


@dataclasses.dataclass(frozen=True)
class Failed:
    """A worker met an error that starting again cannot cure."""

    error: Exception


Message = Started | Phase | Skipped | BatchesTrained | Evaluated | EpochDone | Saved | Interrupted | Failed

Emit = Callable[[Message], None]


class Driver(Protocol):
    """The driver, as a worker sees it."""

    def emit(self, message: Message) -> None:
        """Tell it something."""
        ...

    def asked_to_stop(self) -> bool:
        """Whether it wishes the workers to stop."""
        ...

    def unwritten(self) -> Sequence[BatchRow]:
        """The rows that it was told, and that would be lost with it or on the way to it."""
        ...


class Broadcast:
    """Hands what workers say to several receivers, in their order, one message after the other."""

    def __init__(self, *receivers: Emit):
        self._receivers = receivers
        self._lock = threading.RLock()

    def __call__(self, message: Message) -> None:
        """Hand a message on.

        Raises:
            Exception: the error of a `Failed` message, and what a receiver raises.
        """
        if isinstance(message, Failed):
            raise message.error
        with self._lock:  # checkpoints are announced from the thread that writes them
            for receive in self._receivers:
                receive(message)
