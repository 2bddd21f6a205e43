"""The screen: lines, sections and tables, for people at terminals and for programs; a log holds all of them."""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console as Terminal

from rayrml.errors import RayrmlError, printable
from rayrml.formatting import format_table, stamped
from rayrml.reporting.run_log import RunLog
from rayrml.reporting.spinner import Spinner
from rayrml.reporting.wrapping import fit, fold, wrap, wrap_command

_WIDTH = 78
_COLUMNS = 80  # of tables that are folded
_NAME = 28  # columns, of the names in a section
_MOST_UNWRITTEN = 1000  # lines that are kept for a log which may be opened later


class Console:
    """Prints lines on the process's standard output, and keeps them for a log.

    On a terminal, no line is wider than it: sentences are wrapped, and cells of tables shortened. Elsewhere lines have
    their full length, for programs.

    Args:
        quiet: print nothing.
        stamped: where no person is watching, begin each sentence with the date and time, as in a log.
        every_batch: show each batch, in the form for programs, also on a terminal.
        brief: show a command's answer alone, and not what it does.
        verbose: show all that is only recorded otherwise.

    Attributes:
        terminal: what draws on the screen.
        is_live: whether this is a terminal for people, whose last line can be redrawn. Other output is for programs,
            too: its lines have the predecessor's form.
        every_batch: see above.
        brief: see above.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stamped: bool = True,
        every_batch: bool = False,
        brief: bool = False,
        verbose: bool = False,
    ):
        self._quiet = quiet
        self.every_batch = every_batch
        self.brief = brief
        self._verbose = verbose
        # A notebook gets plain lines, too: rich would make each of them a paragraph.
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
        self.terminal = Terminal(file=sys.stdout, soft_wrap=True, **plain)
        self.is_live = self.terminal.is_terminal and not quiet and not every_batch
        self._stamped = stamped and not self.is_live
        self._spinner = Spinner(sys.stdout, self.terminal.width)
        self._lock = threading.RLock()
        self._hidden = False
        self._after_blank = False
        self._log: RunLog | None = None
        self._unwritten: collections.deque[str] = collections.deque(maxlen=_MOST_UNWRITTEN)

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None if lines may be of any length."""
        return self.terminal.width if self.is_live else None

    @property
    def shows_details(self) -> bool:
        """Whether the screen shows every section about a run; otherwise they are only recorded."""
        return self._verbose or not (self.is_live or self.brief)

    def line(self, text: str = "") -> None:
        """Print a sentence."""
        self._show(text, stamp=bool(text))

    def lines(self, texts: Iterable[str]) -> None:
        """Print each of the sentences."""
        for text in texts:
            self.line(text)

    def section(self, title: str, rows: Mapping[str, Any]) -> None:
        """Print a heading and a line for each row that has a value."""
        self.line()
        self._show(title if self.is_live else f" {title} ".center(_WIDTH, "_"), bold=True)
        self.rows({f"* {name}": value for name, value in rows.items()}, _NAME + 2)

    def rows(self, rows: Mapping[str, Any], size: int, mark: str = ": ") -> None:
        """Print a line for each row that has a value, with the name in `size` columns."""
        for name, value in rows.items():
            if value is not None:
                self._show(f"{name:<{size}}{mark}{value}", indent=size + len(mark))

    def table(self, rows: Iterable[Iterable[Any]], headings: Sequence[str], *, folds: bool = False) -> None:
        """Print a table; with `folds`, long names in its first column have lines of their own where it is no screen."""
        kept = [[printable(str(cell)) for cell in row] for row in rows]
        if folds and not self.is_live:
            for text in fold(kept, headings, _COLUMNS):
                self._show(text)
            return
        shown = fit(kept, headings, self.terminal.width) if self.is_live else kept
        for text, full in zip(format_table(shown, headings), format_table(kept, headings), strict=True):
            self._show(text, full=full)

    def commands(self, title: str, commands: Iterable[str]) -> None:
        """Print shell commands, the first one after a title."""
        for command in commands:
            self._show(f"{title} {command}", title=title)
            title = " " * len(title)

    def note(self, text: str) -> None:
        """Record a sentence without showing it."""
        with self.unseen():
            self.line(text)

    @contextlib.contextmanager
    def unseen(self, hidden: bool = True) -> Iterator[None]:
        """A block whose lines are only recorded."""
        with self._lock:
            before, self._hidden = self._hidden, self._hidden or hidden
            try:
                yield
            finally:
                self._hidden = before

    def wait_for(self, text: str) -> None:
        """Show what the run waits for, until the next call of `stop_waiting`; only on a terminal."""
        if self.is_live and not self.terminal.is_dumb_terminal:
            self._spinner.show(printable(text))

    def begin(self, text: str) -> None:
        """Print what begins and takes a while; on a terminal, it is shown until `stop_waiting`, and recorded."""
        self.wait_for(text)
        with self.unseen(self.is_live):
            self.line(text)

    def stop_waiting(self) -> None:
        """Remove what the run waits for."""
        self._spinner.hide()

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A block that the screen says the run waits for."""
        self.wait_for(text)
        try:
            yield
        finally:
            self.stop_waiting()

    @contextlib.contextmanager
    def recording(self, path: str | None, *, append: bool) -> Iterator[None]:
        """A block whose lines, and those before it, are kept in a file, with the error that ends it; None: no file."""
        if path is None:
            yield
            return
        log = RunLog(path, append=append)
        with self._lock:
            self._log = log
            log.write(list(self._unwritten))
            self._unwritten.clear()
        try:
            yield
        except BaseException as error:
            log.write([stamped(f"rayrml: {text}") for text in _describe(error)])
            raise
        finally:
            self._log = None
            log.close()
            if log.error is not None:
                self.line(f"Warning: {log.error}")

    def publish(self) -> None:
        """Upload what was recorded if the file belongs in an object store."""
        if self._log is not None:
            self._log.publish()

    def _show(self, text: str, *, full: str | None = None, **how: Any) -> None:
        """Print a text, and record it in `full`."""
        text = printable(text)
        with self._lock:
            self._record(text if full is None else full)
            if self._quiet or self._hidden or (self.is_live and not text and self._after_blank):
                return
            self._after_blank = not text
            self._spinner.pause()
            for line in self._wrapped(text, **how):
                self.terminal.print(line, style="bold" if how.get("bold") and self.is_live else None)

    def _wrapped(
        self,
        text: str,
        *,
        stamp: bool = False,
        bold: bool = False,
        indent: int = 4,
        title: str | None = None,
    ) -> list[str]:
        if not self.is_live:
            return [stamped(text) if stamp and self._stamped else text]
        if title is None:
            return wrap(text, self.terminal.width, indent)
        lines = wrap_command(text[len(title) + 1 :], self.terminal.width - len(title) - 1)
        return [f"{title if number == 0 else ' ' * len(title)} {line}" for number, line in enumerate(lines)]

    def _record(self, text: str) -> None:
        line = stamped(text)
        if self._log is None:
            self._unwritten.append(line)
        else:
            self._log.write([line])


def _describe(error: BaseException) -> list[str]:
    """The lines that tell of an error."""
    if isinstance(error, RayrmlError):
        return [printable(str(problem)) for problem in error.problems]
    if isinstance(error, KeyboardInterrupt):
        return ["interrupted"]
    return [printable(f"{type(error).__name__}: {error}")]
