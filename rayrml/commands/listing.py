"""`rayrml list`: list the names that a configuration or a network can use."""

from __future__ import annotations

import argparse
import sys

HELP = "list the available layers, losses, optimizers and so on, with their meanings"


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("name", nargs="?", metavar="NAME", help="what to list, for example losses (default: all lists)")


def do(options: argparse.Namespace) -> None:
    """Print the list. Raises ConfigError if there is no such list."""
    from rayrml.schema import stored

    lines = stored.overview() if options.name is None else stored.names(options.name)
    sys.stdout.write("\n".join([*lines, ""]))
