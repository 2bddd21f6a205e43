"""Event files for TensorBoard: the figures of each epoch, in one folder per run."""

from __future__ import annotations

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
        # This import takes a second.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._epoch = 0
        with explaining(folder, _FAILED):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._writer: Any = SummaryWriter(folder)

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
                for name, value in figures.items():
                    if name not in _NO_CURVES:
                        self._writer.add_scalar(_TAGS.get(name, name), value, epoch)
            self._writer.flush()
