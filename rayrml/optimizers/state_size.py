"""How many numbers optimizers keep, known without building them: torch's optimizers import its compiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HISTORY = 100  # steps that L-BFGS remembers

# For each row, the numbers kept per weight, and the settings that add one if they are neither 0 nor false.
_KEPT: dict[str, tuple[int, tuple[str, ...]]] = {
    "SGD": (0, ("momentum",)),
    "Adagrad": (1, ()),
    "Adam": (2, ("amsgrad",)),
    "AdamW": (2, ("amsgrad",)),
    "RMSprop": (1, ("momentum", "centered")),
    "LARS": (0, ("momentum",)),
    "LAMB": (2, ("amsgrad",)),
    "Hessian": (2 * _HISTORY, ()),  # steps, and changes of the gradient
}


def count_state(name: str, settings: Mapping[str, Any]) -> int:
    """How many numbers the optimizer of the row `name` keeps for each weight.

    Args:
        name: of the row.
        settings: all arguments of the row.
    """
    always, optional = _KEPT[name]
    return always + sum(bool(settings[setting]) for setting in optional)
