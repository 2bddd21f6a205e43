"""The command line. Nothing is imported that a verb does not need: `--help` and a typing error answer at once."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

import rayrml
from rayrml.config import override
from rayrml.errors import ConfigError, Problem, RayrmlError
from rayrml.json_values import read_json

_VERBS = ("run", "check", "submit", "export-weights")
_INTERRUPTED, _OUT_OF_MEMORY, _BUG = 130, 5, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and give the process's exit code.

    0 done, 1 a bug, 2 mistakes in the configuration, 3 data, 4 the cluster, 5 out of memory, 6 the loss is not finite,
    130 interrupted.
    """
    options = _parser().parse_args(_as_verb(sys.argv[1:] if arguments is None else list(arguments)))
    # Called with arguments, this is not the only thing that the process does.
    options.may_leave = arguments is None
    if options.may_leave:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end_at_once)
    try:
        return _VERB_FUNCTIONS[options.verb](options) or 0
    except (Exception, KeyboardInterrupt) as error:
        return _report(error)


def _report(error: BaseException) -> int:
    """Tell what was raised, and give the exit code that goes with it."""
    if isinstance(error, RayrmlError):
        for problem in error.problems:
            _complain(str(problem))
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        _complain("interrupted")
        return _INTERRUPTED
    if isinstance(error, MemoryError):
        return _out_of_memory("the machine's memory")
    if type(error).__name__ in ("OutOfMemoryError", "ObjectStoreFullError"):
        return _out_of_memory(str(error).splitlines()[0])
    traceback.print_exception(error)
    _complain(f"this is a bug in rayrml, not in your configuration. {type(error).__name__}: {error}")
    return _BUG


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """What a signal does before a run begins and when it is over: nothing is under way, and nobody is to wait."""
    os._exit(_INTERRUPTED)


def _leave(error: BaseException) -> None:
    """Tell what is wrong and end the process, with the Ray that is just starting: its processes do not outlive it."""
    code = _report(error)
    sys.stderr.flush()
    os._exit(code)


def _run(options: argparse.Namespace) -> None:
    raw, overrides = _configuration(options)
    from rayrml.launch import run

    run(
        _source(options, raw),
        overrides=overrides,
        resume=options.resume,
        quiet=options.quiet,
        verbose=options.verbose,
        on_mistake=_leave if options.may_leave else None,
    )


def _check(options: argparse.Namespace) -> None:
    raw, overrides = _configuration(options)
    from rayrml import sections
    from rayrml.run_log import RunLog
    from rayrml.runner import check

    sections.check(RunLog(quiet=options.quiet), check(_source(options, raw), overrides=overrides))


def _submit(options: argparse.Namespace) -> int:
    raw, overrides = _configuration(options)
    overrides.pop("ray.address", None)  # which is where the job is sent to
    from rayrml.submission import submit

    words = [f"--{name}" for name in ("resume", "quiet", "verbose") if getattr(options, name)]
    return submit(
        _source(options, raw),
        address=options.address,
        overrides=overrides,
        options=tuple(words),
        follow=not options.no_wait,
    )


def _export_weights(options: argparse.Namespace) -> None:
    from rayrml import checkpoints
    from rayrml.keras_weights import export_weights
    from rayrml.network import build_network

    checkpoint = checkpoints.load(options.checkpoint)
    if checkpoint.layers is None:
        raise ConfigError(Problem(options.checkpoint, "holds no network, only weights. Expected one saved by rayrml"))
    network = build_network(checkpoint.layers, checkpoint.input_shape)
    checkpoints.load_into(network, checkpoint.network, options.checkpoint)
    export_weights(network, options.file)


_VERB_FUNCTIONS = {"run": _run, "check": _check, "submit": _submit, "export-weights": _export_weights}


def _configuration(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The file's object and the overrides; mistakes of syntax in either are found before anything slow is imported."""
    path = options.config or options.file
    if path is None:
        raise ConfigError("no configuration is given. Expected `rayrml --config FILE`")
    raw = read_json(path)
    overrides = dict(_assignment(text) for text in options.set)
    for key, value in (
        ("ray.num_workers", options.num_workers),
        ("ray.use_gpu", options.use_gpu),
        ("ray.address", options.address),
        ("app", options.app),
    ):
        if value is not None:
            overrides[key] = value
    override(raw, overrides)
    return raw, overrides


def _source(options: argparse.Namespace, raw: Any) -> Any:
    """What the run is named after: the file, unless it could be read only once (a pipe)."""
    path = options.config or options.file
    return path if os.path.isfile(path) else raw  # noqa: PTH113


def _assignment(text: str) -> tuple[str, Any]:
    """`data.batch_size=64` as key and value; what is not JSON is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(Problem("--set", f"expected KEY=VALUE, got '{text}'"))
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _num_workers(text: str) -> Any:
    """A number, or two of them: `4`, `1,4`, `[1, 4]`."""
    parts = text.strip("[] ").split(",")
    try:
        numbers = [int(p) for p in parts]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or MIN,MAX, got '{text}'") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _as_verb(arguments: list[str]) -> list[str]:
    """Arguments in the predecessor's manner (`--config= FILE`, no verb) as those of a verb."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--config=", "--app="):
            joined[-1] += argument
        else:
            joined.append(argument)
    known = {"-h", "--help", "--version", *_VERBS}
    return joined if joined and joined[0] in known else ["run", *joined] if joined else ["--help"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rayrml",
        description="Train, evaluate and predict with neural networks from one JSON file.",
        epilog="`rayrml --config=FILE` is the same as `rayrml run FILE`.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rayrml {rayrml.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="train, evaluate or predict as a configuration says", allow_abbrev=False)
    check = verbs.add_parser("check", help="do all of `run` that needs no Ray, and show it", allow_abbrev=False)
    submit = verbs.add_parser("submit", help="run a configuration as a job of a cluster", allow_abbrev=False)
    for verb in (run, check, submit):
        _add_options(verb)
    for verb in (run, submit):
        verb.add_argument("--resume", action="store_true", help="go on with what was kept of an earlier run")
    submit.add_argument("--no-wait", action="store_true", help="do not wait for the job's end")
    export = verbs.add_parser(
        "export-weights", help="write a checkpoint's weights as an HDF5 file for Keras", allow_abbrev=False
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="a file model_checkpoint_<epoch>.pt")
    export.add_argument("file", metavar="FILE.h5", help="the file to write")
    return parser


def _add_options(verb: argparse.ArgumentParser) -> None:
    file = verb.add_mutually_exclusive_group()
    file.add_argument("file", nargs="?", metavar="FILE", help="the configuration, a JSON file")
    file.add_argument("--config", metavar="FILE", help="the same")
    verb.add_argument("--num-workers", type=_num_workers, metavar="N", help="workers; MIN,MAX for elastic training")
    verb.add_argument("--use-gpu", action=argparse.BooleanOptionalAction, help="a GPU for each worker")
    verb.add_argument("--address", help="a running Ray cluster; else RAY_ADDRESS; else a private local Ray")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set any key, for example data.batch_size=64"
    )
    verb.add_argument("--app", help="the application, if the configuration does not name it")
    output = verb.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="print errors only")
    output.add_argument("--verbose", action="store_true", help="print Ray's own messages too")


def _out_of_memory(what: str) -> int:
    _complain(f"out of memory: {what}. A smaller batch_size, or preload: false, needs less")
    return _OUT_OF_MEMORY


def _complain(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"rayrml: {text}\n")
