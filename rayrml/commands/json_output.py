"""`--json`: one JSON document on standard output, for programs; everything else goes to standard error."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from rayrml.errors import Problem, RayrmlError, describe


def add_json(verb: argparse.ArgumentParser) -> None:
    """Add the option. The command's `do` sets `options.document`, which is written when it has returned."""
    meaning = "print the result, or the mistakes, as one JSON document; everything else on standard error"
    verb.add_argument("--json", action="store_true", help=meaning)


@contextlib.contextmanager
def reserving_output(options: argparse.Namespace) -> Iterator[None]:
    """Send what the block prints to standard error if the command's output is one document."""
    options.stdout = sys.stdout
    if not options.json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def write(document: Any, output: TextIO) -> None:
    """Write the document: a result, or what `list_problems` returns."""
    output.write(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    output.flush()


def list_problems(error: BaseException | str, code: int) -> dict[str, Any]:
    """The document of a command that failed with this error, or with a message about its options."""
    if isinstance(error, RayrmlError):
        problems = list(error.problems)
    else:
        problems = [Problem("command line" if isinstance(error, str) else "", _text(error))]
    return {"error": list(map(_to_object, problems)), "exit_code": code}


def _to_object(problem: Problem) -> dict[str, Any]:
    file, _, line = problem.line.rpartition(":")
    located = bool(file) and line.isdecimal()
    return {
        "where": problem.where or None,
        "file": file if located else problem.line or None,
        "line": int(line) if located else None,
        "message": problem.message,
    }


def _text(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {describe(error)}"


def _plain(value: Any) -> Any:
    """The value in JSON's own types; a number that is not finite becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    as_dict = getattr(value, "_asdict", None)  # of a named tuple
    if as_dict is not None:
        return _plain(as_dict())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    value = getattr(value, "item", lambda: value)()  # numpy's numbers become Python's
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
