"""The options of the commands that take a configuration."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rayrml.cluster.reachability import find_address
from rayrml.commands import short_keys
from rayrml.commands.devices import choose_device
from rayrml.commands.first_words import announce_reading
from rayrml.config.variables import substitute
from rayrml.errors import ConfigError, Problem
from rayrml.formatting import stamped

if TYPE_CHECKING:
    from rayrml.config.reading import Document

_ShortOptions = Mapping[str, tuple[str, Callable[[str], Any]]]

OF_TRAINING: _ShortOptions = {
    "--epochs": ("num_epochs", int),
    "--batch-size": ("data.batch_size", int),
    "--lr": ("optimizer.learning_rate", float),
}
OF_EVALUATION: _ShortOptions = {"--batch-size": ("data.test_batch_size", int)}
OF_RAY = ("--num-workers", "--use-gpu", "--device", "--address", "--verbose")


def add_options(verb: argparse.ArgumentParser, *, unlisted: Collection[str] = ()) -> None:
    """Add the options for the configuration, what overrides it, and how much is printed.

    Those that are `unlisted` change nothing that the command does. It takes them, as they set keys of a configuration
    that it reads whole, and a training's command line can be tried with it.
    """
    file = verb.add_mutually_exclusive_group()
    file.add_argument("file", nargs="?", metavar="FILE", help="the configuration, a JSON, YAML or TOML file")
    file.add_argument("--config", metavar="FILE", help="same as FILE")
    verb.add_argument("--app", help="the application, if the configuration does not name one")
    before = len(verb._actions)
    add_settings(verb, OF_TRAINING)
    for action in verb._actions[before:]:
        if not set(unlisted).isdisjoint(action.option_strings):
            action.help = argparse.SUPPRESS
    # argparse cannot print the usage of a group without any option that is listed.
    groups = verb._mutually_exclusive_groups
    groups[:] = [group for group in groups if any(a.help != argparse.SUPPRESS for a in group._group_actions)]


def add_settings(
    verb: argparse.ArgumentParser,
    short: _ShortOptions = MappingProxyType({}),
    *,
    uses_ray: bool = True,
) -> None:
    """Add the options for what overrides a configuration, and how much is printed.

    Args:
        verb: the command.
        short: options that set a key each.
        uses_ray: whether it does its work on Ray, with workers and their devices.
    """
    for option, (key, kind) in short.items():
        verb.add_argument(option, dest=key, type=kind, metavar="N", help=f"same as {key}=N")
    if uses_ray:
        _add_ray(verb)
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set any key, for example data.batch_size=64; KEY=VALUE alone does the same",
    )
    output = verb.add_mutually_exclusive_group()
    output.add_argument("--quiet", action="store_true", help="print errors only")
    if uses_ray:
        output.add_argument("--verbose", action="store_true", help="print Ray's own messages too")


def _add_ray(verb: argparse.ArgumentParser) -> None:
    """Add the options for workers and for where they are."""
    workers = verb.add_argument("--num-workers", "--workers", type=_num_workers, metavar="N")
    workers.help = "workers, or MIN,MAX for elastic training"
    device = verb.add_mutually_exclusive_group()
    device.add_argument("--use-gpu", action=argparse.BooleanOptionalAction, help="one GPU per worker")
    device.add_argument("--device", metavar="NAME", help="cpu, cuda (one GPU per worker), or cuda:N for that GPU alone")
    verb.add_argument("--address", help="a running Ray cluster (default: RAY_ADDRESS, or a private local Ray)")


def add_pictures(verb: argparse.ArgumentParser) -> None:
    """Add the options for and against pictures of outputs."""
    pictures = verb.add_mutually_exclusive_group()
    meaning = "write pictures of the outputs: images with their boxes; masks and images are written anyway"
    pictures.add_argument("--pictures", action="store_true", help=meaning)
    meaning = "write no masks, overlays and other pictures of outputs"
    pictures.add_argument("--no-images", action="store_true", help=meaning)


def add_resume(verb: argparse._ActionsContainer) -> None:
    """Add the option that resumes an interrupted run."""
    verb.add_argument("--resume", action="store_true", help="resume an interrupted run")


def add_earlier(verb: argparse.ArgumentParser) -> None:
    """Add the options for an earlier run in the same folder."""
    earlier = verb.add_mutually_exclusive_group()
    add_resume(earlier)
    earlier.add_argument(
        "--overwrite", action="store_true", help="remove the earlier run in checkpoints.save (default: move it aside)"
    )


def add_predecessor_log(verb: argparse.ArgumentParser) -> None:
    """Add the option for programs that read the log of the predecessor."""
    meaning = "print a line for each batch, in the form for programs that read rmldnn's log"
    verb.add_argument("--predecessor-log", action="store_true", help=meaning)


def read(options: argparse.Namespace) -> Document:
    """The configuration that the command line names, with the values that it sets.

    Raises:
        ConfigError: syntax errors in either, or values that the command line cannot set; they are found before torch
            and Ray are imported.
        DataError: the file cannot be read.
    """
    path = options.config or options.file
    if path is None:
        raise ConfigError("no configuration given. Expected `rayrml --config FILE`")
    announce_reading(path, quiet=options.quiet)
    from rayrml.config.reading import read_configuration

    document = read_configuration(path, {} if options.app is None else {"app": options.app})
    assigned = _assigned(options, document.values)
    document = document.with_overrides(assigned)
    _refuse_wrong_values(document, assigned)
    section = document.values.get("ray") if isinstance(document.values, dict) else None
    return document.with_overrides(_of_ranks(options, section if isinstance(section, dict) else {}))


def _say(text: str) -> None:
    """Print a line like the run's console, which does not exist yet."""
    sys.stdout.write(f"{text if sys.stdout.isatty() else stamped(text)}\n")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The values for dotted keys from the options of `add_settings`. Raises ConfigError for an invalid one."""
    overrides = _assigned(options, {})
    return overrides | _of_ranks(options, {"num_workers": overrides.get("ray.num_workers")})


def _of_ranks(options: argparse.Namespace, ray: Mapping[str, Any]) -> dict[str, Any]:
    """As many workers as `mpirun` has started processes, unless the section `ray` says how many; says which."""
    ranks = options.ranks
    if ranks is None:
        return {}
    given = ray.get("num_workers")
    if not options.quiet:
        processes = "1 process" if ranks.count == 1 else f"{ranks.count} processes"
        workers = "1 worker" if ranks.count == 1 else f"{ranks.count} workers"
        how = f"with {workers}" if given is None else f"with ray.num_workers = {given}"
        _say(f"{ranks.launcher} has started {processes}: this is one run {how}")
        if ranks.local_count is not None and ranks.local_count < ranks.count:
            _say("Its workers are on this machine. For several machines, start Ray on them and pass --address")
        sys.stdout.flush()
    return {"ray.num_workers": ranks.count} if given is None else {}


def _refuse_wrong_values(document: Document, assigned: Collection[str]) -> None:
    """Raise ConfigError with the mistakes in the sections and their rows if the command line has made some.

    If it has only set some rows wrong, what else it has set may be wrong, too: the tables and the files will tell.
    """
    if not assigned:
        return
    from rayrml.config.search_spaces import find_spaces

    if any(find_spaces(document.values)):  # those of a search are checked with the values that stand for them
        return
    places = [key if key.split(".")[0] in ("neural_network", "ray") else f"neural_network.{key}" for key in assigned]
    sections, rows = document.parsed[1], short_keys.find_wrong_rows(document.values)
    if any(_has(sections, place) for place in places) or all(_has(rows, place) for place in places):
        with document.locating_mistakes():
            raise ConfigError(*sections, *rows)


def _has(problems: Iterable[Problem], place: str) -> bool:
    """Whether one of the problems is with the value at a place, or with a part of it."""
    return any(problem.where == place or problem.where.startswith(f"{place}.") for problem in problems)


def _assigned(options: argparse.Namespace, values: Any) -> dict[str, Any]:
    """The values for dotted keys that the command line sets in a configuration with these values.

    Raises:
        ConfigError: an option's value is invalid, or no section has one of the keys.
    """
    overrides = {short_keys.complete(key, values): value for key, value in map(_assignment, options.set)}
    short_keys.refuse_unknown(overrides)
    given = {key: getattr(options, key, None) for key, _ in (*OF_TRAINING.values(), *OF_EVALUATION.values())}
    use_gpu, device = getattr(options, "use_gpu", None), getattr(options, "device", None)
    if device is not None:
        use_gpu = choose_device(device, _find_address(options, overrides, values))
    given |= {"ray.num_workers": getattr(options, "num_workers", None), "ray.use_gpu": use_gpu}
    given["ray.address"] = getattr(options, "address", None)
    given["checkpoints.exist"] = "overwrite" if getattr(options, "overwrite", False) else None
    given["data.hdf5_shards"] = getattr(options, "shards", None)
    wanted = {"none": getattr(options, "no_images", False), "always": getattr(options, "pictures", False)}
    given["data.test_output_images"] = next((value for value, is_set in wanted.items() if is_set), None)
    return overrides | {key: value for key, value in given.items() if value is not None}


def _find_address(options: argparse.Namespace, overrides: Mapping[str, Any], values: Any) -> str | None:
    """The address of the cluster that a run would connect to, None for a private Ray."""
    section = values.get("ray") if isinstance(values, Mapping) else None
    in_file = section.get("address") if isinstance(section, Mapping) else None
    address = find_address(options.address or overrides.get("ray.address", in_file))
    return None if address is None else str(address)


def read_settings(given: Iterable[str]) -> dict[str, Any]:
    """The values of `KEY=VALUE`s. Raises ConfigError if one is something else."""
    return dict(map(_assignment, given))


def _assignment(text: str) -> tuple[str, Any]:
    """`data.batch_size=64` as key and value; a value that is not JSON is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(Problem("--set", f"expected KEY=VALUE, got '{text}'"))
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = value
    found, problems = substitute(found, key)
    if problems:
        raise ConfigError(*problems)
    return key, found


def _num_workers(text: str) -> Any:
    """One number or two: `4`, `1,4`, `[1, 4]`."""
    parts = text.strip("[] ").split(",")
    try:
        numbers = [int(p) for p in parts]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or MIN,MAX, got '{text}'") from None
    return numbers[0] if len(numbers) == 1 else numbers
