"""Event files for TensorBoard: the figures of each epoch, in a folder for each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rayrml.errors import DataError, Problem
from rayrml.reporting.messages import EpochDone, Message, Started

_TAGS = {"train_loss": "loss/train", "test_loss": "loss/test"}
_NO_CURVES = ("epoch",)


class EventFiles:
    """Writes one run's figures as scalars over epochs.

    Args:
        folder: of this machine; files of other runs in there stay.
    """

    def __init__(self, folder: str):
        """Begin a file. Raises DataError if it cannot be made."""
        # It takes a second to import.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._epoch = 0
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._writer: Any = SummaryWriter(folder)
        except OSError as error:
            raise DataError(Problem(folder, f"cannot be written. {error.strerror}")) from None

    def receive(self, message: Message) -> None:
        """Write what a worker says, each epoch once. Raises DataError if that fails."""
        match message:
            case Started():
                self._write(message.history)
            case EpochDone(figures):
                self._write([figures])
            case _:
                pass

    def close(self) -> None:
        """Finish the file. Raises DataError if that fails."""
        try:
            self._writer.close()
        except OSError as error:
            raise DataError(Problem(self._folder, f"cannot be written. {error.strerror}")) from None

    def _write(self, history: Iterable[Mapping[str, float]]) -> None:
        try:
            for figures in history:
                epoch = int(figures["epoch"])
                if epoch <= self._epoch:
                    continue
                self._epoch = epoch
                for name, value in figures.items():
                    if name not in _NO_CURVES:
                        self._writer.add_scalar(_TAGS.get(name, name), value, epoch)
            self._writer.flush()
        except OSError as error:
            raise DataError(Problem(self._folder, f"cannot be written. {error.strerror}")) from None
