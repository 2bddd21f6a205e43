"""The errors that a user can cause or cure; anything else that is raised is a bug."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import unicodedata
from collections.abc import Iterator
from typing import ClassVar

MOST_NAMED = 10  # of files that have the same fault
_MOST_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is (a JSON path, a file, a layer) and what is wrong and expected there.

    `line` is the file and the line in which that stands, such as `config.json:12`, "" where there is none.
    """

    where: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.line, self.where, self.message) if part))


class RayrmlError(Exception):
    """One or several problems, printed one a line and without a traceback; `exit_code` is the process's."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: Problem | str):
        # The problems are the exception's `args`, so that it survives pickling between Ray's processes.
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What went wrong, in the order in which it was found."""
        return tuple(p if isinstance(p, Problem) else Problem("", str(p)) for p in self.args)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ConfigError(RayrmlError):
    """A mistake in the configuration, the network file, or the command line."""

    exit_code = 2


class DataError(RayrmlError):
    """A file that is missing, cannot be read or does not hold what it should."""

    exit_code = 3


class ClusterError(RayrmlError):
    """Ray could not be reached, has not the resources asked for, or lost a worker for good."""

    exit_code = 4


class DivergenceError(RayrmlError):
    """The training loss is not a finite number any more."""

    exit_code = 6


@contextlib.contextmanager
def explaining(
    where: str | os.PathLike[str], failed: str, kinds: type[Exception] | tuple[type[Exception], ...] = OSError
) -> Iterator[None]:
    """Raise DataError `<where>: <failed>. <reason>` when the block raises an error of one of the `kinds`.

    `failed` is what failed, such as "cannot be written". Errors that are for the user already stay as they are.
    """
    try:
        yield
    except RayrmlError:
        raise
    except kinds as error:
        raise DataError(Problem(os.fspath(where), f"{failed}. {describe(error)}")) from None


def describe(error: BaseException) -> str:
    """The reason that an error gives, on one line: the system's, else the first of its own lines, else its kind."""
    reason = getattr(error, "strerror", None) or str(error)
    return next((line.strip() for line in str(reason).splitlines() if line.strip()), type(error).__name__)


def printable(text: str) -> str:
    """`text` as one line that a terminal can show: what a file or its name holds may be anything, and of any length."""
    if len(text) > _MOST_CHARACTERS:
        half = _MOST_CHARACTERS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    """Itself, but for line ends, other control characters and halves of surrogate pairs."""
    control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return repr(character)[1:-1] if control else character
