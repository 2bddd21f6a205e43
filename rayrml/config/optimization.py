"""How weights are updated, apart from the optimizer's own row: sections as frozen models, like those of `sections`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from rayrml.config.section import Section


class OptimizerOptions(Section):
    """Keys of every optimizer, besides those of its type."""

    lr_scheduler: dict[str, Any] | list[Any] | None = Field(
        default=None, description="how the learning rate changes, one scheduler or several in sequence"
    )
    accumulate: PositiveInt = Field(
        default=1,
        description="micro-batches of a batch, whose gradients are added up: for batches that do not fit into memory",
    )
