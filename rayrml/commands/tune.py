"""`rayrml tune`: search for the best values of what a configuration leaves open."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_earlier, add_options, read
from rayrml.commands.json_output import add_json

HELP = "search for the best values of what a configuration leaves open"
EXAMPLES = (
    "rayrml tune config.json --num-trials 50",
    "rayrml tune config.json --algorithm optuna",
    "rayrml tune config.json 'lr={\"loguniform\": [1e-4, 1e-1]}'",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb)
    add_earlier(verb)
    add_json(verb)
    verb.add_argument("--num-trials", type=_count, default=20, metavar="N", help="number of trials (default: 20)")
    verb.add_argument("--at-once", type=_count, metavar="N", help="trials to run at once (default: as many as fit)")
    verb.add_argument(
        "--algorithm",
        choices=("random", "optuna"),
        default="random",
        help="how values are chosen: at random, or by Optuna based on earlier trials",
    )
    verb.add_argument("--search-seed", type=int, default=0, metavar="N", help="seed of the search (default: 0)")


def do(options: argparse.Namespace) -> None:
    """Search, and show the result. Raises what `tune` raises."""
    document = read(options)
    from rayrml.tuning.tune import tune

    options.document = tune(
        document,
        num_trials=options.num_trials,
        at_once=options.at_once,
        algorithm=options.algorithm,
        search_seed=options.search_seed,
        resume=options.resume,
        quiet=options.quiet,
        verbose=options.verbose,
        command=options.typed if document.is_file else None,
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number >= 1, got '{text}'")
    return int(text)
