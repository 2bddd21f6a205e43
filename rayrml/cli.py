"""The command line. A command imports only what it needs, so `--help` and typing errors answer at once."""

from __future__ import annotations

import argparse
import atexit
import difflib
import functools
import itertools
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from rayrml.cluster import mpi_ranks
from rayrml.commands import VERBS, json_output
from rayrml.errors import ConfigError, DataError, RayrmlError, Terminated, describe, explaining
from rayrml.reporting.standard_streams import describe_loss, make_lasting
from rayrml.version import __version__

_INTERRUPTED, _TERMINATED, _OUT_OF_MEMORY, _BUG = 130, 143, 5, 1
_WITH_SETTINGS = (
    *("run", "check", "look", "find-lr", "predict", "evaluate", "explain", "submit", "tune"),
    *("network", "serve"),
)
_OTHER_NAMES = {"train": "run", "val": "evaluate"}  # that other tools have
_FLAGS = (
    *("--quiet", "--verbose", "--resume", "--overwrite", "--use-gpu", "--no-use-gpu"),
    *("--predecessor-log", "--no-wait", "--json", "--no-token", "--inexact"),
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)
_OF_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for the commands of its jobs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the process's exit code.

    0 done, 1 a bug, 2 mistakes in the configuration, 3 data, 4 the cluster, 5 out of memory, 6 the loss is not finite,
    130 interrupted, 143 ended by SIGTERM.
    """
    # A caller that passes arguments may be a program that has other things to do.
    if arguments is not None:
        return _execute(_options(_as_verb(list(arguments))))
    make_lasting()
    ranks = mpi_ranks.find_ranks(os.environ, sys.argv[1:])
    if ranks is not None and ranks.rank > 0:
        return mpi_ranks.follow(ranks)
    if ranks is None:
        return _be_program(None, lambda code: None)
    return _be_program(ranks, mpi_ranks.Leader(ranks, os.environ).end)


def _be_program(ranks: mpi_ranks.Ranks | None, tell: Callable[[int], None]) -> int:
    """Do what the process's own command line says and return its exit code, which `tell` receives too."""
    code = _BUG
    try:
        options = _options(_as_verb(sys.argv[1:]))
        options.leave = functools.partial(_leave, tell, options)
        options.typed = _typed(sys.argv)
        options.ranks = ranks
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end_at_once)
        atexit.register(_ignore_signals)  # runs after all other exit handlers
        code = _execute(options)
        return code
    except SystemExit as ended:  # from the parser
        code = ended.code if isinstance(ended.code, int) else 0
        raise
    finally:
        tell(code)


def _execute(options: argparse.Namespace) -> int:
    """Carry out the command and return its exit code."""
    with json_output.reserving_output(options):
        try:
            _refuse_lost_folder()
            code = VERBS[options.verb].do(options) or 0
        except (Exception, KeyboardInterrupt) as error:
            code = _report(error)
            options.document = json_output.list_problems(error, code)
    if options.json:
        json_output.write(options.document, options.stdout)
    if (loss := describe_loss()) is not None:
        _complain(loss)
    return code or (DataError.exit_code if loss else 0)


def _refuse_lost_folder() -> None:
    """Raise DataError if there is no current folder: relative paths mean nothing then, and Ray does not start."""
    with explaining("the current folder", "does not exist any more, or cannot be read. Change to another one"):
        os.getcwd()  # noqa: PTH109 (quick)


def _typed(arguments: Sequence[str]) -> tuple[str, ...] | None:
    """The command as the user would retype it; None in a cluster job, which was not typed on that machine."""
    if _OF_A_JOB in os.environ:
        return None
    program, *rest = arguments
    module = os.path.basename(program) == "__main__.py"  # noqa: PTH119 (a string)
    return (*(("python", "-m", "rayrml") if module else ("rayrml",)), *rest)


def _options(arguments: list[str]) -> argparse.Namespace:
    """The parsed command line; exits with a message if it is invalid."""
    parser = _parser("--json" in arguments)
    given = argparse.Namespace(leave=None, typed=None, ranks=None, json=False, document=None, parser=parser)
    options, unknown = parser.parse_known_args(arguments, given)
    first = arguments[1] if len(arguments) > 1 else ""
    if options.verb == "run" and getattr(options, "file", None) == first and _is_mistyped(first):
        near = difflib.get_close_matches(first, VERBS, n=1)
        expected = f"Did you mean '{near[0]}'?" if near else f"Expected a configuration or one of {', '.join(VERBS)}"
        parser.error(f"unknown command '{first}'. {expected}")
    if unknown:
        more = " `--set KEY=VALUE` sets any key of the configuration." if hasattr(options, "set") else ""
        parser.error(
            f"unrecognized arguments: {' '.join(unknown)}.{more} `rayrml {options.verb} --help` lists the options"
        )
    return options


def _is_mistyped(word: str) -> bool:
    """Whether a first word is a misspelled command rather than a path."""
    return word.replace("-", "").isalpha() and not os.path.exists(word)  # noqa: PTH110 (a string)


def _report(error: BaseException) -> int:
    """Print what was raised and return its exit code."""
    if isinstance(error, RayrmlError):
        for problem in error.problems:
            _complain(str(problem))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        _complain("interrupted")
        return _TERMINATED if isinstance(error, Terminated) else _INTERRUPTED
    if isinstance(error, MemoryError):
        return _out_of_memory("the machine's memory")
    encoding = sys.getfilesystemencoding()
    if isinstance(error, UnicodeEncodeError) and encoding.lower() != "utf-8":
        _complain(f"the file name {error.object!r} cannot be written in {encoding}. Set PYTHONUTF8=1 or LC_ALL=C.UTF-8")
        return DataError.exit_code
    if type(error).__name__ in ("OutOfMemoryError", "ObjectStoreFullError"):
        return _out_of_memory(describe(error))
    traceback.print_exception(error)
    _complain(f"this is a bug in rayrml, not in your configuration. {type(error).__name__}: {error}")
    return _BUG


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End the process on a signal before a run begins or after it ends, when there is nothing to finish."""
    os._exit(_TERMINATED if number == signal.SIGTERM else _INTERRUPTED)


def _ignore_signals() -> None:
    """Ignore signals that could change the exit code at the very end, after Python has dropped its handlers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _leave(tell: Callable[[int], None], options: argparse.Namespace, error: BaseException) -> None:
    """Print what is wrong and end the process, and with it the Ray that is just starting."""
    code = _report(error)
    if options.json:
        json_output.write(json_output.list_problems(error, code), options.stdout)
    sys.stderr.flush()
    tell(code)
    os._exit(code)


def _as_verb(arguments: list[str]) -> list[str]:
    """The arguments with a command; the predecessor's style (`--config= FILE`) has none and means `run`."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--config=", "--app="):
            joined[-1] += argument
        else:
            joined.append(argument)
    if joined[:1] == ["help"]:
        return [*joined[1:2], "--help"]
    joined[:1] = [_OTHER_NAMES.get(word, word) for word in joined[:1]]
    known = {"-h", "--help", "--version", *VERBS}
    found = joined if joined and joined[0] in known else ["run", *joined] if joined else ["--help"]
    return _with_set(found) if found[0] in _WITH_SETTINGS else found


def _with_set(arguments: list[str]) -> list[str]:
    """The arguments with `--set` before each `KEY=VALUE` that stands alone."""
    found: list[str] = []
    for before, argument in itertools.pairwise(arguments):
        is_value = before.startswith("--") and "=" not in before and before not in _FLAGS
        if _ASSIGNMENT.fullmatch(argument) and not is_value and not os.path.exists(argument):  # noqa: PTH110
            found.append("--set")
        found.append(argument)
    return [arguments[0], *found]


class _Parser(argparse.ArgumentParser):
    """A parser that also writes what is wrong as JSON, for commands with `--json`."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        if self.as_json:
            json_output.write(json_output.list_problems(message, ConfigError.exit_code), sys.stdout)
        super().error(message)


def _parser(as_json: bool = False) -> argparse.ArgumentParser:
    """The parser of all commands, which writes mistakes `as_json`, too."""
    parser = _Parser(
        prog="rayrml",
        description="Train, evaluate and predict with neural networks from one JSON file.",
        epilog="`rayrml --config=FILE` is the same as `rayrml run FILE`.",
        allow_abbrev=False,
    )
    parser.as_json = as_json
    parser.add_argument("--version", action="version", version=f"rayrml {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for name, module in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=module.HELP,
            description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
            epilog="\n    ".join(["examples:", *module.EXAMPLES]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.as_json = as_json
        module.add(verb)
    return parser


def _out_of_memory(what: str) -> int:
    _complain(f"out of memory: {what}. A smaller batch_size, or preload: false, needs less")
    return _OUT_OF_MEMORY


def _complain(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"rayrml: {text}\n")
