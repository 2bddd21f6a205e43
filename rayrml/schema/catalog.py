"""The tables that a configuration chooses from, by the names under which they are listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rayrml.config.tables import Table, unwrap
from rayrml.data.readers import READERS
from rayrml.data.slicers import slicer
from rayrml.data.transforms import TRANSFORMS
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS
from rayrml.metrics import METRICS
from rayrml.networks.families import NETWORKS
from rayrml.networks.layers import TABLE
from rayrml.networks.layers.activations import FUNCTIONS
from rayrml.networks.layers.initializers import INITIALIZERS
from rayrml.networks.layers.regularizers import REGULARIZERS
from rayrml.optimizers import OPTIMIZERS


def meaning(row: Callable[..., Any]) -> str:
    """The first line of a row's docstring."""
    return (inspect.getdoc(unwrap(row)) or "").split("\n")[0]


def list_meanings() -> dict[str, dict[str, str]]:
    """The meaning of each row of each table."""
    return {name: {row: meaning(builder) for row, builder in rows.items()} for name, rows in TABLES.items()}


TABLES: dict[str, Table] = {
    "networks": NETWORKS,
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
