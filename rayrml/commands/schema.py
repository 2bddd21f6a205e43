"""`rayrml schema`: print the JSON Schema of a configuration, for editors, or a table of keys, for people."""

from __future__ import annotations

import argparse
import json
import sys

HELP = "print the JSON Schema of a configuration, or a table of keys"


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("--tune", action="store_true", help="allow search spaces, as `rayrml tune` does")
    verb.add_argument("--keys", metavar="NAME", help="print the keys of a section or a table, for example optimizer")


def do(options: argparse.Namespace) -> None:
    """Print it. Raises ConfigError if there is no section or table of this name."""
    if options.keys is not None:
        from rayrml.schema.key_tables import keys

        sys.stdout.write("\n".join([*keys(options.keys), ""]))
        return
    from rayrml.schema import json_schema

    found = json_schema.search() if options.tune else json_schema.configuration()
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
