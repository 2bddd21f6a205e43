"""`rayrml schema`: print the JSON Schema of a configuration, for editors, or a table of keys, for people."""

from __future__ import annotations

import argparse
import json
import sys

HELP = "print the JSON Schema of a configuration, or a table of keys"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    verb.add_argument("--keys", metavar="NAME", help="print the keys of a section or a table, for example optimizer")


def do(options: argparse.Namespace) -> None:
    """Print it. Raises ConfigError if nothing has the name."""
    if options.keys is not None:
        from rayrml.key_tables import keys

        sys.stdout.write("\n".join([*keys(options.keys), ""]))
        return
    from rayrml.schema import configuration

    sys.stdout.write(json.dumps(configuration(), indent=2, ensure_ascii=False) + "\n")
