"""`rayrml list`: list the names that a configuration or a network can use."""

from __future__ import annotations

import argparse
import sys

from rayrml.commands.json_output import add_json

HELP = "list the available layers, losses, optimizers and so on, with their meanings"
EXAMPLES = (
    "rayrml list",
    "rayrml list losses",
    "rayrml list layers --json",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("name", nargs="?", metavar="NAME", help="what to list, for example losses (default: all lists)")
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Print the list. Raises ConfigError if there is no such list."""
    from rayrml.schema import stored

    if options.json:
        options.document = stored.read_catalog()["lists"] if options.name is None else stored.meanings(options.name)
        return
    lines = stored.overview() if options.name is None else stored.names(options.name)
    sys.stdout.write("\n".join([*lines, ""]))
