"""`run.log`: what a run shows, with the time of each line, next to what the run writes."""

from __future__ import annotations

from rayrml.errors import DataError
from rayrml.reporting.log_files import LogFile


class RunLog:
    """A text file of lines. If it cannot be written, the run goes on without it.

    Attributes:
        error: why lines are missing, None if none are.
    """

    def __init__(self, path: str, *, append: bool):
        self.error: DataError | None = None
        self._file: LogFile | None = None
        try:
            self._file = LogFile(path, append=append)
        except DataError as error:
            self.error = error

    def write(self, lines: list[str]) -> None:
        """Add lines."""
        if self._file is None or self.error is not None:
            return
        try:
            for line in lines:
                self._file.write(f"{line}\n")
            self._file.flush()
        except DataError as error:
            self.error = error

    def publish(self) -> None:
        """Upload the file if it belongs in an object store."""
        if self._file is not None and self.error is None:
            try:
                self._file.publish()
            except DataError as error:
                self.error = error

    def close(self) -> None:
        """Write everything and close the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except DataError as error:
                self.error = error
