"""Event files for TensorBoard: the figures of each epoch, in one folder per run.

They are written by tensorboardX, which comes with Ray; the extra `tensorboard` brings the program that shows them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rayrml.errors import explaining
from rayrml.reporting.messages import EpochDone, Message, Started

EVENTS_FOLDER = "tensorboard"  # next to the checkpoints
_TAGS = {"train_loss": "loss/train", "test_loss": "loss/test"}
_NO_CURVES = ("epoch",)
_FAILED = "cannot be written"


class EventFiles:
    """Writes one run's figures as scalars over epochs.

    Args:
        folder: a folder on this machine; files of other runs in it are kept.
    """

    def __init__(self, folder: str):
        """Start a file. Raises DataError if it cannot be created."""
        # These imports take a while. SummaryWriter would write in a thread, whose errors nobody sees.
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        self._folder = folder
        self._epoch = 0
        self._event: Any = event_pb2
        self._summary: Any = summary_pb2
        path = Path(folder, f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}")
        with explaining(folder, _FAILED):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(path))
            self._add(file_version="brain.Event:2")
            self._writer.flush()

    def receive(self, message: Message) -> None:
        """Write the figures of a worker's message, each epoch once. Raises DataError if that fails."""
        match message:
            case Started():
                self._write(message.history)
            case EpochDone(figures):
                self._write([figures])
            case _:
                pass

    def close(self) -> None:
        """Finish the file. Raises DataError if that fails."""
        with explaining(self._folder, _FAILED):
            self._writer.close()

    def _write(self, history: Iterable[Mapping[str, float]]) -> None:
        with explaining(self._folder, _FAILED):
            for figures in history:
                epoch = int(figures["epoch"])
                if epoch <= self._epoch:
                    continue
                self._epoch = epoch
                values = [
                    self._summary.Summary.Value(tag=_TAGS.get(name, name), simple_value=value)
                    for name, value in figures.items()
                    if name not in _NO_CURVES
                ]
                self._add(step=epoch, summary=self._summary.Summary(value=values))
            self._writer.flush()

    def _add(self, **content: Any) -> None:
        self._writer.write(self._event.Event(wall_time=time.time(), **content).SerializeToString())
