"""Keys as people type them: `lr=0.01` for `optimizer.learning_rate`, if only one key can be meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayrml.config.sections import Checkpoints, Data, NeuralNetwork, Ray, Stopping
from rayrml.errors import ConfigError, Problem

_SECTIONS = {"data": Data, "checkpoints": Checkpoints, "early_stopping": Stopping, "ray": Ray}
_OTHER_NAMES = {"lr": "learning_rate", "epochs": "num_epochs", "batch": "batch_size", "workers": "num_workers"}
_ROWS = {"optimizer": "type", "loss": "function", "optimizer.lr_scheduler": "type"}


def complete(key: str, values: Any) -> str:
    """The dotted key that a short one means; itself if it is dotted, or no key is called so.

    Args:
        key: as typed, relative to `neural_network`.
        values: the configuration's object, whose rows of optimizer, loss and scheduler have keys of their own.

    Raises:
        ConfigError: several keys are called so.
    """
    name = _OTHER_NAMES.get(key, key)
    if "." in key or name in NeuralNetwork.model_fields or name in ("neural_network", "ray"):
        return name if "." not in key else key
    found = [f"{section}.{name}" for section, model in _SECTIONS.items() if name in model.model_fields]
    found += [f"{place}.{name}" for place in _ROWS if name in _list_row_keys(place, values)]
    if len(found) > 1:
        raise ConfigError(Problem(key, f"may mean {' or '.join(found)}. Expected one of these"))
    return found[0] if found else key


def _list_row_keys(place: str, values: Any) -> set[str]:
    """The keys of the row that the configuration chooses at a place, besides the one that names it."""
    section = values.get("neural_network") if isinstance(values, Mapping) else None
    for part in place.split("."):
        section = section.get(part) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping):
        return set()
    # Imported only for names that no section has: these tables need torch.
    from rayrml.config.tables import find, make_model
    from rayrml.losses import LOSSES
    from rayrml.lr_schedulers import LR_SCHEDULERS
    from rayrml.optimizers import OPTIMIZERS

    tables: Mapping[str, Mapping[str, Any]] = {
        "optimizer": OPTIMIZERS,
        "loss": LOSSES,
        "optimizer.lr_scheduler": LR_SCHEDULERS,
    }
    rows = tables[place]
    try:
        row = rows[find(rows, str(section.get(_ROWS[place])), place)]
    except ConfigError:
        return set(section)  # of a row that is refused in any case
    return set(make_model(row).model_fields)
