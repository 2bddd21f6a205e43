"""`rayrml check`: do all of a run that needs no Ray, and show it."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_options, configuration

HELP = "do all of `run` that needs no Ray, and show it"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_options(verb)


def do(options: argparse.Namespace) -> None:
    """Show the network, the data and the rest. Raises ConfigError and DataError with all mistakes."""
    config, overrides = configuration(options)
    from rayrml.planning import summary
    from rayrml.reporting.run_log import RunLog
    from rayrml.runs.runner import check
    from rayrml.tuning import search

    log = RunLog(quiet=options.quiet)
    searched = search.prepared(config, overrides)
    if searched is not None:
        search.announce(log, searched)
        log.line("")
        log.line("All values were tried. With the first ones:")
    summary.check(log, check(config, overrides=overrides) if searched is None else searched.plan)
