"""The tables that a configuration chooses from, by the names under which they are listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rayrml.config.tables import Table, find, unwrap
from rayrml.data.readers import READERS
from rayrml.data.slicers import slicer
from rayrml.data.transforms import TRANSFORMS
from rayrml.formatting import format_table
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS
from rayrml.metrics import METRICS
from rayrml.networks.layers import TABLE
from rayrml.networks.layers.activations import FUNCTIONS
from rayrml.networks.layers.initializers import INITIALIZERS
from rayrml.networks.layers.regularizers import REGULARIZERS
from rayrml.optimizers import OPTIMIZERS


def meaning(row: Callable[..., Any]) -> str:
    """The first line of a row's docstring."""
    return (inspect.getdoc(unwrap(row)) or "").split("\n")[0]


def names(name: str) -> list[str]:
    """Lines with the rows of the table called `name`, and their meanings.

    Raises:
        ConfigError: there is no such table.
    """
    rows = TABLES[find(TABLES, name, "list")]
    width = max(map(len, rows))
    return [f"{row:{width}}  {meaning(builder)}".rstrip() for row, builder in rows.items()]


def overview() -> list[str]:
    """Lines with the names of the tables, and the number of rows of each."""
    return format_table([(name, len(rows)) for name, rows in TABLES.items()], ("rayrml list", "Rows"))


TABLES: dict[str, Table] = {
    "layers": TABLE,
    "activations": FUNCTIONS,
    "initializers": INITIALIZERS,
    "regularizers": REGULARIZERS,
    "optimizers": OPTIMIZERS,
    "lr_schedulers": LR_SCHEDULERS,
    "losses": LOSSES,
    "metrics": METRICS,
    "data_types": READERS,
    "slicers": {"slicer": slicer},
    "transforms": TRANSFORMS,
}
