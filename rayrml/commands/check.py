"""`rayrml check`: validate a configuration without training."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_options, read
from rayrml.commands.json_output import add_json

HELP = "validate a configuration without training"
EXAMPLES = (
    "rayrml check config.json",
    "rayrml check config.json data.batch_size=64",
    "rayrml check config.json --json",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb, unlisted=("--verbose",))
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Show the network, the data and the memory that is needed. Raises ConfigError and DataError with all mistakes."""
    document = read(options)
    from rayrml.planning import description, summary
    from rayrml.planning.preparation import prepare
    from rayrml.reporting.console import Console
    from rayrml.tuning import search

    searched = search.prepare(document)
    if options.json:
        spaces = {} if searched is None else {space.name: space.text for space in searched.spaces}
        plan = prepare(document) if searched is None else searched.plan
        options.document = description.describe(plan) | ({"search": spaces} if spaces else {})
        return
    console = Console(quiet=options.quiet, stamped=False)
    if searched is not None:
        search.announce(console, searched)
        console.lines(["", "All values were checked. The plan with the first ones:"])
    summary.check(console, prepare(document) if searched is None else searched.plan)
