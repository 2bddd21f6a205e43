"""The logs of a run's figures: `<outfile>_train.txt` has a line for each batch, `<outfile>_test.txt` for each epoch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

from rayrml import storage
from rayrml.config.figures import TEST_LOSS, is_cost
from rayrml.reporting.log_files import LogFile, set_aside
from rayrml.reporting.messages import BatchesTrained, BatchRow, EpochDone, Message, Started


class FigureLogs:
    """Writes the figures of one run.

    Args:
        outfile: the path from which the files' names are made.
        append: add to the files of an earlier run, which is resumed; otherwise they are renamed and kept.
        overwrite: replace them instead.
        metric: the figure in the last column of the test log; None if evaluation has none but the loss, whose negative
            the column then holds, so that more is better in any case.

    Attributes:
        set_aside: the new paths of an earlier run's logs.

    Raises:
        DataError: a file cannot be written.
    """

    def __init__(self, outfile: str, *, append: bool, overwrite: bool = False, metric: str | None = None):
        self._metric = metric
        paths = log_paths(outfile)
        self.set_aside = [] if append or overwrite else set_aside(paths)
        self._train_file, self._test_file = (LogFile(path, append=append) for path in paths)

    def receive(self, message: Message) -> None:
        """Write the figures of a worker's message. Raises DataError if that fails."""
        match message:
            case Started():
                self._rewind(message)
            case BatchesTrained(rows):
                self._write_batches(rows)
            case EpochDone(figures):
                self._write_epochs([figures])
                self._train_file.publish()
                self._test_file.publish()

    def close(self) -> None:
        """Write what is pending and close the files. Raises DataError if that fails."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._test_file.close)
            stack.callback(self._train_file.close)

    def _write_batches(self, rows: Iterable[BatchRow]) -> None:
        for row in rows:
            figures = "".join(f" {value:.8f}" for value in (row.loss, row.gradient_norm, *row.terms))
            self._train_file.write(f"{row.epoch} {row.batch} {row.seconds:.6f}{figures}\n")
        self._train_file.flush()

    def _write_epochs(self, history: Iterable[dict[str, float]]) -> None:
        for figures in history:
            # Samples that are not compared with targets have a metric, but no loss.
            compared = self._metric is not None and self._metric in figures
            loss = figures.get(TEST_LOSS, math.nan if compared else None)
            if loss is not None:
                # A metric may be undefined in some epochs.
                last = -loss if self._metric is None else figures.get(self._metric, math.nan)
                last = -last if self._metric is not None and is_cost(self._metric) else last
                self._test_file.write(f"{figures['epoch']} {loss:.8f} {last:.8f}\n")
        self._test_file.flush()

    def _rewind(self, started: Started) -> None:
        """Make the files hold exactly what came before this.

        Later lines will be written again; the last lines before may have been lost on the way from a worker.
        """
        last = self._train_file.keep((started.epoch, started.batch), num_fields=5)
        self._write_batches(row for row in started.rows if last < (row.epoch, row.batch))
        last = self._test_file.keep((started.epoch - 1,), num_fields=1)
        self._write_epochs(figures for figures in started.history if last < (figures["epoch"],))


def log_paths(outfile: str) -> list[str]:
    """`out_x.txt` -> `out_x_train.txt` and `out_x_test.txt`."""
    return [storage.marked(outfile, f"_{kind}") for kind in ("train", "test")]
