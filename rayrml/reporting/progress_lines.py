"""The lines that show a run's progress: batches, evaluations, files, and problems on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayrml.config.figures import spell, title
from rayrml.formatting import format_path
from rayrml.reporting.console import Console
from rayrml.reporting.epoch_table import EpochTable
from rayrml.reporting.history import Figures, find_best
from rayrml.reporting.live_line import LiveLine
from rayrml.reporting.messages import (
    BatchesTrained,
    BatchRow,
    EpochDone,
    Evaluated,
    FinalTested,
    Message,
    Phase,
    Saved,
    Skipped,
    Started,
)
from rayrml.reporting.run_state import RunState

if TYPE_CHECKING:
    from rayrml.metrics import Evaluation

_SECONDS_BETWEEN_LINES = 0.5
_FEW_BATCHES = 1000  # of a run, each of which gets a line where no person is watching
_OF_PREDECESSOR = ("accuracy", "dice")  # the metrics that it reported by default


class ProgressLines:
    """Shows the messages of one run's workers on a console.

    It must receive a message before the run's state does: some lines compare new figures with earlier ones.

    Args:
        console: the screen.
        state: state of the run.
        num_epochs: epochs of the run.
        metric: the metric that was requested, None for the default one.
        summarized: whether the end of the run names its files, which a terminal need not show before.
        symbols: what the terms of the loss are called in the line of a batch, () if it shows none.
    """

    def __init__(
        self,
        console: Console,
        state: RunState,
        num_epochs: int,
        metric: str | None = None,
        *,
        summarized: bool = True,
        symbols: Sequence[str] = (),
    ):
        self._console = console
        self._metric = metric
        self._state = state
        self._num_epochs = num_epochs
        self._summarized = summarized
        self._symbols = symbols
        self._terms: dict[str, float] = {}  # the last ones that are known
        self._live = LiveLine(console.terminal, num_epochs) if console.is_live else None
        self._epochs = EpochTable(num_epochs)
        self._shown = 0.0
        self._since_shown = [0.0, 0.0, 0.0]

    def receive(self, message: Message) -> None:
        """Show a worker's message."""
        match message:
            case Started():
                self._start(message)
            case Phase(text):
                self._console.line(text)
            case Skipped():
                self._skip(message)
            case BatchesTrained():
                self._batches(message)
            case Evaluated():
                self._evaluation(message)
            case FinalTested() if not self._live:  # people get it with the other results
                self._final_test(message)
            case EpochDone(figures):
                self._end_live()
                self._epoch(figures)
            case Saved(kind, path) if kind != "best":
                self._saved(kind, path)

    def close(self) -> None:
        """Remove the live line."""
        self._end_live()
        self._console.stop_waiting()

    def _start(self, started: Started) -> None:
        state = self._state
        if path := state.unreported_checkpoint(started):
            self._saved("checkpoint", path)
        if state.trains or started.resumed:
            self._end_live()
            grown = started.num_workers > state.num_workers
            why = "" if not state.trains else "Workers were added: " if grown else "A worker was lost: "
            batch = f", batch {started.batch + 1}" if started.batch else ""
            self._console.line(f"{why}Resuming at epoch {started.epoch}{batch}")
        if self._live:
            self._live.begin()
            self._console.wait_for("Preparing the first batch")

    def _skip(self, message: Skipped) -> None:
        bad, known = message.bad, self._state.skipped.get(message.bad.name, set())
        new = bad.without(known)
        if not len(new):
            return
        self._console.lines(new.lines())
        in_batches = "" if message.num_batches is None else f", in {message.num_batches} batches per epoch"
        used = bad.num_samples - len(known | new.numbers)
        self._console.line(f"Skipping them: {used} {bad.name} samples remain{in_batches}")

    def _batches(self, message: BatchesTrained) -> None:
        num_batches = self._state.num_batches
        if self._live:
            self._console.stop_waiting()
            self._live.show(message, num_batches)
            return
        for row in message.rows:
            self._batch(row, num_batches)

    def _batch(self, row: BatchRow, num_batches: int) -> None:
        if row.batch == 1:
            self._since_shown = [0.0, 0.0, 0.0]
        for i, seconds in enumerate((row.data, row.compute, row.reduce)):
            self._since_shown[i] += seconds
        now = time.monotonic()
        pause_over = now - self._shown >= _SECONDS_BETWEEN_LINES
        if row.batch in (1, num_batches) or pause_over or self._shows_all(num_batches):
            self._console.line(self._batch_line(row, num_batches))
            self._shown, self._since_shown = now, [0.0, 0.0, 0.0]

    def _shows_all(self, num_batches: int) -> bool:
        """Whether each batch has a line: programs that read the log get all of them, unless there are many."""
        return self._console.every_batch or num_batches * self._num_epochs <= _FEW_BATCHES

    def _batch_line(self, row: BatchRow, num_batches: int) -> str:
        total = sum(self._since_shown) or 1.0
        data, compute, reduce = (round(100 * part / total) for part in self._since_shown)
        figures = {"Loss": row.loss, **self._known_terms(row), "|g|": row.gradient_norm}
        return (
            f"Train {self._place(row.epoch, row.batch, num_batches)} "
            f"({'; '.join(f'{name} = {value:.4f}' for name, value in figures.items())}) "
            f"[Data: {data}%; Compute: {compute}%; Grad/Comm: {reduce}%]"
        )

    def _known_terms(self, row: BatchRow) -> dict[str, float]:
        """The terms of the loss that lines show; that of an earlier batch where one is unknown."""
        found = zip(self._symbols, row.terms, strict=False)
        self._terms |= {name: value for name, value in found if not math.isnan(value)}
        return {name: self._terms[name] for name in self._symbols if name in self._terms}

    def _place(self, epoch: int, batch: int, num_batches: int) -> str:
        """`Epoch [  1/ 20] : Batch [    5/  469]`, in the predecessor's widths, which programs rely on."""
        return f"Epoch {_of(epoch, self._num_epochs, 3)} : Batch {_of(batch, num_batches, 5)}"

    def _saved(self, kind: str, path: str) -> None:
        with self._console.unseen(self._live is not None and self._summarized):
            self._console.line(f"Saved {kind}: {format_path(path)}")

    def _evaluation(self, done: Evaluated) -> None:
        if self._live:
            self._live.evaluated(_describe(done.found))
            return
        text = f"Eval  {self._place(done.epoch, done.num_batches, done.num_batches)}"
        found = done.found
        if found.loss is not None:
            text += f" (Loss: {found.loss:.4f})"
        if found.value is not None:
            text += f" | {self._name(found.metric)}: {found.value:.3f}{_others(found)}"
        self._console.line(text)

    def _name(self, metric: str) -> str:
        """What the metric is called in a line for programs."""
        # They look for the predecessor's word, whatever it measured by default.
        return "Accuracy" if self._metric is None and metric in _OF_PREDECESSOR else title(metric)

    def _epoch(self, figures: Figures) -> None:
        """Show an epoch's figures to people; programs have got its batches and its evaluation."""
        if self._live and self._state.trains:
            history = [*self._state.history, figures]
            self._console.lines(self._epochs.lines(figures, best=find_best(history) is figures))
        self._console.publish()

    def _final_test(self, done: FinalTested) -> None:
        found = done.found
        value = "" if found.value is None else f" | {title(found.metric)}: {found.value:.3f}{_others(found)}"
        samples = f"{done.num_samples} samples, model of epoch {done.epoch}"
        loss = "" if found.loss is None else f" (Loss: {found.loss:.4f})"
        self._console.line(f"Final test : {samples}{loss}{value}")

    def _end_live(self) -> None:
        if self._live:
            self._live.end()


def _others(found: Evaluation) -> str:
    """The further figures of an evaluation in a line for programs."""
    return "".join(f" | {title(name)}: {value:.3f}" for name, value in found.others.items())


def _describe(found: Evaluation) -> str:
    """The metric and other figures of an evaluation, or its loss if it has none."""
    if found.value is not None:
        return ", ".join(f"{spell(name)} {value:.4g}" for name, value in found.figures.items())
    return "" if found.loss is None else f"test loss {found.loss:.4g}"


def _of(number: int, total: int, width: int) -> str:
    """`[ 1/20]`, aligned throughout a run."""
    return f"[{number:>{width}}/{total:>{width}}]"
