"""Errors that a user can cause or fix; any other exception is a bug."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import unicodedata
from collections.abc import Iterator
from typing import ClassVar

MOST_NAMED = 10  # files named for the same fault
_MOST_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its place (a JSON path, a file, a layer), what is wrong there and what was expected.

    `line` is the file and line of the mistake, such as `config.json:12`, or "" if there is none.
    """

    where: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.line, self.where, self.message) if part))


class RayrmlError(Exception):
    """One or more problems, printed one per line without a traceback; the process exits with `exit_code`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: Problem | str):
        # The problems are the exception's `args`, so that it survives pickling between Ray's processes.
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems, in the order in which they were found."""
        return tuple(p if isinstance(p, Problem) else Problem("", str(p)) for p in self.args)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ConfigError(RayrmlError):
    """A mistake in the configuration, the network file, or the command line."""

    exit_code = 2


class DataError(RayrmlError):
    """A file that is missing, cannot be read or has the wrong contents."""

    exit_code = 3


class ClusterError(RayrmlError):
    """Ray cannot be reached, lacks the requested resources, or has lost a worker for good."""

    exit_code = 4


class DivergenceError(RayrmlError):
    """The training loss is no longer a finite number."""

    exit_code = 6


class Terminated(KeyboardInterrupt):
    """SIGTERM has ended the run, in the same order as Ctrl-C does."""


@contextlib.contextmanager
def explaining(
    where: str | os.PathLike[str], failed: str, kinds: type[Exception] | tuple[type[Exception], ...] = OSError
) -> Iterator[None]:
    """Raise DataError `<where>: <failed>. <reason>` when the block raises an error of one of the `kinds`.

    `failed` says what failed, such as "cannot be written". A RayrmlError passes through unchanged.
    """
    try:
        yield
    except RayrmlError:
        raise
    except kinds as error:
        raise DataError(Problem(os.fspath(where), f"{failed}. {describe(error)}")) from None


def describe(error: BaseException) -> str:
    """The reason for an error, on one line: the system's, else the first line of its text, else its type."""
    reason = getattr(error, "strerror", None) or str(error)
    return next((line.strip() for line in str(reason).splitlines() if line.strip()), type(error).__name__)


def printable(text: str) -> str:
    """`text` as one printable line of limited length: the names and contents of files may be anything."""
    if len(text) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    """The character, escaped if it is a line end, another control character or half of a surrogate pair."""
    control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return repr(character)[1:-1] if control else character
