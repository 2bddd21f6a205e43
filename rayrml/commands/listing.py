"""`rayrml list`: print the names that a configuration or a network can choose from."""

from __future__ import annotations

import argparse
import sys

HELP = "print the names of layers, losses, optimizers, ..., and what each of them is"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    verb.add_argument("name", nargs="?", metavar="NAME", help="what to list, for example losses; all lists without it")


def do(options: argparse.Namespace) -> None:
    """Print the list. Raises ConfigError if there is no such list."""
    from rayrml.schema import catalog

    lines = catalog.overview() if options.name is None else catalog.names(options.name)
    sys.stdout.write("\n".join([*lines, ""]))
