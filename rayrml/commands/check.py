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
    from rayrml import sections
    from rayrml.run_log import RunLog
    from rayrml.runner import check

    sections.check(RunLog(quiet=options.quiet), check(config, overrides=overrides))
