"""What the tables and sections say, stored in files next to this one: reading them takes milliseconds.

The tables themselves need torch. `python -m tests.pages` writes the files from them, and a test compares both.
"""

from __future__ import annotations

import functools
import json
import textwrap
from pathlib import Path
from typing import Any

from rayrml.config.names import find
from rayrml.formatting import format_table

_COLUMNS = 80
_FOLDER = Path(__file__).parent
CATALOG = _FOLDER / "catalog.json"
CONFIGURATION = _FOLDER / "configuration.schema.json"
SEARCH = _FOLDER / "search.schema.json"


@functools.cache
def read_catalog() -> dict[str, Any]:
    """The stored lists.

    - `lists`: the meaning of each row of each table;
    - `keys`: the lines of `rayrml schema --keys` for each section and each table;
    - `section_keys`: the keys of each section, by its dotted path;
    - `row_keys`: the keys of each row of each table.
    """
    return json.loads(CATALOG.read_text(encoding="utf-8"))


def names(name: str) -> list[str]:
    """Lines of at most 80 columns with the rows of the table called `name`, and their meanings.

    Raises:
        ConfigError: there is no such table.
    """
    rows = meanings(name)
    width = max(map(len, rows))
    lines: list[str] = []
    for row, meaning in rows.items():
        lines += textwrap.wrap(f"{row:{width}}  {meaning}", _COLUMNS, subsequent_indent=" " * (width + 2)) or [row]
    return lines


def meanings(name: str) -> dict[str, str]:
    """The meaning of each row of the table called `name`. Raises ConfigError if there is no such table."""
    lists = read_catalog()["lists"]
    return lists[find(lists, name, "list")]


def overview() -> list[str]:
    """Lines with the names of the tables, and the number of rows of each."""
    lists = read_catalog()["lists"]
    return format_table([(name, len(rows)) for name, rows in lists.items()], ("rayrml list", "Rows"))


def keys(name: str) -> list[str]:
    """Lines with the keys of the section called `name`, or of each row of the table called `name`.

    Raises:
        ConfigError: there is no such section or table.
    """
    catalog = read_catalog()
    tables = catalog["keys"]
    singulars = {name.removesuffix("es" if name == "losses" else "s"): name for name in catalog["lists"]}
    found = find({**tables, **singulars}, name, "--keys")
    return tables[singulars.get(found, found)]
