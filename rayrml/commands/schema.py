"""`rayrml schema`: print the JSON Schema of a configuration, for editors, or a table of keys, for people."""

from __future__ import annotations

import argparse
import sys

HELP = "print the JSON Schema of a configuration, or a table of keys"
EXAMPLES = (
    "rayrml schema > rayrml.schema.json",
    "rayrml schema --keys optimizer",
    "rayrml schema --keys data",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("--tune", action="store_true", help="allow search spaces, as `rayrml tune` does")
    verb.add_argument("--keys", metavar="NAME", help="print the keys of a section or a table, for example optimizer")


def do(options: argparse.Namespace) -> None:
    """Print it. Raises ConfigError if there is no section or table of this name."""
    from rayrml.schema import stored

    if options.keys is not None:
        sys.stdout.write("\n".join([*stored.keys(options.keys), ""]))
    else:
        sys.stdout.write((stored.SEARCH if options.tune else stored.CONFIGURATION).read_text(encoding="utf-8"))
