"""`rayrml check`: validate a configuration without training."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_options, read

HELP = "validate a configuration without training"


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb)


def do(options: argparse.Namespace) -> None:
    """Show the network, the data and the memory that is needed. Raises ConfigError and DataError with all mistakes."""
    document = read(options)
    from rayrml.planning import summary
    from rayrml.planning.plan import prepare
    from rayrml.reporting.console import Console
    from rayrml.tuning import search

    console = Console(quiet=options.quiet, stamped=False)
    searched = search.prepare(document)
    if searched is not None:
        search.announce(console, searched)
        console.lines(["", "All values were checked. The plan with the first ones:"])
    summary.check(console, prepare(document) if searched is None else searched.plan)
