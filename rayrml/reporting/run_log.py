"""What a run says: sections and lines on the screen, and the files `<outfile>_train.txt` and `<outfile>_test.txt`.

Everything is written by the driver; workers send it the messages of `messages`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from rayrml import storage
from rayrml.data.bad_samples import BadSamples
from rayrml.errors import printable
from rayrml.formatting import format_path
from rayrml.reporting.history import best, cost
from rayrml.reporting.live_line import LiveLine
from rayrml.reporting.log_files import LogFile, set_aside
from rayrml.reporting.messages import (
    OF_TRAINING,
    BatchesTrained,
    BatchRow,
    Emit,
    EpochDone,
    Evaluated,
    Failed,
    Interrupted,
    Message,
    Phase,
    Saved,
    Skipped,
    Started,
)

_SECONDS_BETWEEN_LINES = 0.5


class RunLog:
    """The screen and the log files of one run.

    Args:
        outfile: what the log files are named after, None for none.
        num_epochs: of the run.
        num_batches: of an epoch.
        append: go on with the files.
        quiet: show nothing on the screen.
        also: gets all messages, too.

    Attributes:
        history: the figures of each epoch: `epoch`, `train_loss`, `learning_rate`, `seconds` and, with test data,
            `test_loss` and the metric's name.
        saved: paths of the files that the run wrote, by kind.
        trains: whether training has begun.
        interrupted: where the workers have ended early, None if they have not.
        gpu_bytes: the most memory of its GPU that the first worker took in training, 0 without a GPU.
        skipped: numbers of the samples that were left out, by dataset.
        kept: where the logs of an earlier run are now.
    """

    def __init__(
        self,
        outfile: str | None = None,
        *,
        num_epochs: int = 1,
        num_batches: int = 0,
        append: bool = False,
        quiet: bool = False,
        also: Emit = lambda message: None,
    ):
        self.num_epochs = num_epochs
        self.num_batches = num_batches
        self.quiet = quiet
        self._also = also
        self.history: list[dict[str, float]] = []
        self.saved: dict[str, list[str]] = {}
        self.skipped: dict[str, set[int]] = {}
        self._lock = threading.RLock()
        # A notebook gets plain lines, too: rich would make a paragraph of each of them.
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
        self._console = Console(file=sys.stdout, soft_wrap=True, **plain)
        self._live = LiveLine(self._console, num_epochs) if self._console.is_terminal and not quiet else None
        self._shown = 0.0
        self._since_shown = [0.0, 0.0, 0.0]
        paths = [] if outfile is None else [log_path(outfile, kind) for kind in ("train", "test")]
        self.kept = [] if append else set_aside(paths)
        self._files = [LogFile(path, append=append) for path in paths]
        self._train_file, self._test_file = self._files or (None, None)
        self.trains = False
        self._num_workers = 0
        self.interrupted: Interrupted | None = None
        self.gpu_bytes = 0

    def section(self, title: str, rows: Mapping[str, Any]) -> None:
        """Print a heading and a line for each of the rows that has a value."""
        self.line("")
        self.line(f" {title} ".center(78, "_"))
        for name, value in rows.items():
            if value is not None:
                self.line(f"* {name:<28}: {value}")

    def line(self, text: str) -> None:
        """Print one line with the time of day."""
        if not self.quiet:
            self._console.print(printable(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}".rstrip()))

    def receive(self, message: Message) -> None:
        """Show and write down what a worker says.

        Raises:
            Exception: the error of a `Failed` message.
        """
        with self._lock:  # checkpoints are announced from the thread that writes them
            self._take(message)
            self._also(message)

    def _take(self, message: Message) -> None:
        match message:
            case Started():
                self._rewind(message)
            case Phase(text):
                self.line(text)
            case Skipped(bad, num_batches):
                self._skip(bad, num_batches)
            case BatchesTrained():
                self._batches(message)
            case Evaluated():
                self._evaluation(message)
            case EpochDone(figures):
                self._end_live()  # the last batches may have been left out
                self._epoch(figures)
            case Saved(kind, path):
                self._file(kind, path)
            case Interrupted():
                self.interrupted = message
            case Failed(error):
                raise error

    def close(self) -> None:
        """Finish the progress bar and the files."""
        self._end_live()
        with contextlib.ExitStack() as stack:
            for file in self._files:
                stack.callback(file.close)

    def _epoch(self, figures: dict[str, float]) -> None:
        self.history.append(figures)
        self._write_tests([figures])
        for file in self._files:
            file.publish()

    def _skip(self, bad: BadSamples, num_batches: int | None) -> None:
        known = self.skipped.setdefault(bad.name, set())
        new = bad.without(known)
        known |= new.numbers
        if len(new):
            for line in new.lines():
                self.line(line)
            in_batches = "" if num_batches is None else f", in {num_batches} batches per epoch"
            self.line(f"Skipping them: {bad.num_samples - len(known)} {bad.name} samples are used{in_batches}")
        if num_batches is not None and bad.name == "training":
            self.num_batches = num_batches

    def _batches(self, message: BatchesTrained) -> None:
        for row in message.rows:
            self._batch(row)
        self.gpu_bytes = max(self.gpu_bytes, message.gpu_bytes)
        if self._live and message.rows[-1].batch < self.num_batches:
            self._live.show(message, self.num_batches)
        if self._train_file:
            self._train_file.flush()

    def _batch(self, row: BatchRow) -> None:
        if row.batch == 1:
            self._since_shown = [0.0, 0.0, 0.0]
        for i, seconds in enumerate((row.data, row.compute, row.reduce)):
            self._since_shown[i] += seconds
        self._write(row)
        last = row.batch == self.num_batches
        now = time.monotonic()
        if last or row.batch == 1 or now - self._shown >= _SECONDS_BETWEEN_LINES:
            if last or not self._live:
                self._end_live()
                self.line(self._batch_line(row))
            self._shown, self._since_shown = now, [0.0, 0.0, 0.0]

    def _batch_line(self, row: BatchRow) -> str:
        total = sum(self._since_shown) or 1.0
        data, compute, reduce = (round(100 * part / total) for part in self._since_shown)
        return (
            f"Train Epoch {_of(row.epoch, self.num_epochs)} : Batch {_of(row.batch, self.num_batches)} "
            f"(Loss = {row.loss:.4f}; |g| = {row.gradient_norm:.4f}) "
            f"[Data: {data}%; Compute: {compute}%; Grad/Comm: {reduce}%]"
        )

    def _file(self, kind: str, path: str) -> None:
        files = self.saved.setdefault(kind, [])
        if path not in files:  # some are written anew after each epoch
            files.append(path)
        self.line(f"Saved {kind}: {format_path(path)}")

    def _evaluation(self, done: Evaluated) -> None:
        text = f"Eval  Epoch {_of(done.epoch, self.num_epochs)} : Batch {_of(done.num_batches, done.num_batches)}"
        if done.loss is not None:
            text += f" (Loss: {done.loss:.4f})"
        if done.value is not None:
            text += f" | {done.metric.capitalize()}: {done.value:.3f}"
        if self._live and self.trains:
            text += self._compared(done)
        self.line(text)

    def _compared(self, done: Evaluated) -> str:
        """How the evaluation compares with those before; for people, not for programs that read the log."""
        tests = {"test_loss": done.loss, done.metric: done.value}
        figures = {name: value for name, value in tests.items() if value is not None}
        if not figures or not self._live:
            return ""
        name = done.metric if done.metric in figures else "test_loss"
        self._live.evaluated(f"{name.replace('_', ' ')} {figures[name]:.4g}")
        top = best([before for before in self.history if name in before])
        if top is None:
            return ""
        if cost(figures, name) < cost(top, name):
            return "  (the best so far)"
        return f"  (the best: {top[name]:.3f} in epoch {top['epoch']})"

    def _write(self, row: BatchRow) -> None:
        if self._train_file:
            line = f"{row.epoch} {row.batch} {row.seconds:.6f} {row.loss:.8f} {row.gradient_norm:.8f}\n"
            self._train_file.write(line)

    def _write_tests(self, history: Iterable[dict[str, float]]) -> None:
        if self._test_file is None:
            return
        for figures in history:
            if tests := [f"{value:.8f}" for name, value in figures.items() if name not in OF_TRAINING]:
                self._test_file.write(" ".join([str(figures["epoch"]), *tests]) + "\n")
        self._test_file.flush()

    def _rewind(self, started: Started) -> None:
        """Let the files hold what came before this, neither more nor less.

        Later lines are done anew; the last ones before may have been lost on the way from a worker.
        """
        if self.trains and started.checkpoint and started.checkpoint not in self.saved.get("checkpoint", ()):
            self._file("checkpoint", started.checkpoint)
        if self.trains or started.resumed:
            self._end_live()
            grown = started.num_workers > self._num_workers
            why = "" if not self.trains else "Workers were added: " if grown else "A worker was lost: "
            batch = f", batch {started.batch + 1}" if started.batch else ""
            self.line(f"{why}Going on with epoch {started.epoch}{batch}")
        if self._live:
            self._live.begin()
        self.trains = True
        self._num_workers = started.num_workers
        self.history = list(started.history)
        if self._train_file:
            last = self._train_file.keep((started.epoch, started.batch), num_fields=5)
            for row in started.rows:
                if last < (row.epoch, row.batch):
                    self._write(row)
            self._train_file.flush()
        if self._test_file:
            last = self._test_file.keep((started.epoch - 1,), num_fields=1)
            self._write_tests(figures for figures in started.history if last < (figures["epoch"],))

    def _end_live(self) -> None:
        if self._live:
            self._live.end()


def log_path(outfile: str, kind: str) -> str:
    """`out_x.txt` -> `out_x_train.txt`."""
    return storage.marked(outfile, f"_{kind}")


def _of(number: int, total: int) -> str:
    """`[ 1/20]`, `[  5/ 469]`: aligned over a run, in the predecessor's widths, which scripts look for."""
    width = max(len(str(total)), 2)
    return f"[{number:>{width}}/{total:>{width + (width > 2)}}]"
