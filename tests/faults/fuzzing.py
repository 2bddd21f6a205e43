"""Fuzzing cases in a separate process, which a case may crash, fill or block without harming the others.

`python -m tests.faults.fuzzing KIND FIRST [LAST]` runs the cases FIRST to LAST - 1 again, in the process itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rayrml.errors import ConfigError, DataError, RayrmlError

SECONDS = 5  # CPU time limit of one case
MEGABYTES = 1000  # memory limit of one case
_SECONDS_HANGING = 60  # elapsed time limit, since the machine may be busy with other things
_LONGEST_LINE = 3000
_MOST_FINDINGS = 10
_ROOT = Path(__file__).parent.parent.parent

Case = Callable[[random.Random], Any]


class _TooSlow(BaseException):
    """A case exceeded its time limit."""


def findings(kind: str, count: int, first: int = 0) -> list[str]:
    """The failures among `count` cases of a kind, numbered from `first`; each can be run again by its number."""
    found: list[str] = []
    last = first + count
    with tempfile.TemporaryDirectory() as folder:
        while first < last and len(found) < _MOST_FINDINGS:
            command = [sys.executable, "-m", "tests.faults.fuzzing", kind, str(first), str(last), folder]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": f"{_ROOT}:{os.environ.get('PYTHONPATH', '')}",
            }
            ended = subprocess.run(
                command, cwd=_ROOT, env=environment, capture_output=True, text=True, errors="replace"
            )
            found += [line for line in ended.stdout.splitlines() if line.startswith(f"{kind} ")]
            progress = Path(folder, "progress")
            reached = int(progress.read_text()) if progress.exists() else first
            if ended.returncode == 0 and reached == last:
                break
            found.append(f"{kind} {reached}: the process ended with {ended.returncode}. {ended.stderr[-3000:]}")
            first = max(reached, first) + 1
    return found


def _run(kind: str, first: int, last: int, folder: str) -> None:
    """Print a line for each failing case from `first` to `last` - 1."""
    module = importlib.import_module(f"tests.faults.{kind}")
    home = Path(folder, "home")
    home.mkdir(exist_ok=True)
    os.chdir(home)
    case: Case = module.cases(home)
    signal.signal(signal.SIGPROF, _stop)
    progress = os.open(Path(folder, "progress"), os.O_CREAT | os.O_WRONLY)
    for number in range(first, last):
        os.pwrite(progress, str(number).encode().ljust(9), 0)
        complaint = _complaint(case, random.Random(f"{kind} {number}"))
        if complaint:
            print(f"{kind} {number}: {complaint}", flush=True)
    os.pwrite(progress, str(last).encode().ljust(9), 0)


def _complaint(case: Case, r: random.Random) -> str | None:
    """Why a case failed, None if it did not."""
    try:
        with _limits():
            case(r)
    except (ConfigError, DataError) as error:
        return complaint_about(error)
    except _TooSlow:
        return f"took more than {SECONDS} s. {_place(sys.exc_info()[1])}"
    except BaseException as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        return f"{type(error).__name__}: {str(error)[:300]!r}{notes}. {_place(error)}"
    return None


def complaint_about(error: RayrmlError, *, placed: bool = True) -> str | None:
    """What is wrong with an error for the user, None if nothing is: its lines must be printable, and name a place.

    Without `placed`, lines may have no place of their own: they count the files that others name, or the loss diverged.
    """
    for problem in error.problems:
        if placed and not problem.where:
            return f"a problem without a place: {str(problem)[:300]!r}"
        if len(str(problem).splitlines()) != 1 or len(str(problem)) > _LONGEST_LINE:
            return f"a problem of {len(str(problem))} characters, or of several lines: {str(problem)[:300]!r}"
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(problem)):
            return f"a problem that cannot be printed: {str(problem)[:300]!r}"
    return None if error.problems else "an error without a problem"


def _place(error: BaseException | None) -> str:
    """The origin of an exception: its last calls."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames[-7:]))


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Limit the time and memory of one case."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + MEGABYTES * 10**6, hard))
    faulthandler.dump_traceback_later(_SECONDS_HANGING, exit=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _stop(*_: Any) -> None:
    raise _TooSlow


if __name__ == "__main__":
    faulthandler.enable(all_threads=False)
    kind, first, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        _run(kind, int(first), int(rest[0]) if rest else int(first) + 1, rest[1] if len(rest) > 1 else folder)
