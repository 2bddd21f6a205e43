"""How weights are updated, apart from the optimizer's own row: sections as frozen models, like those of `sections`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt

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
    decay_all: bool = Field(
        default=True,
        description="whether `weight_decay` is for all weights; false: not for biases and the weights of normalization",
    )
    learning_rates: dict[str, PositiveFloat] = Field(
        default={},
        description="factors of `learning_rate` by the names of layers, or of models inside the network; `*` stands "
        'for any characters: `{"encoder*": 0.1}`; the first name that fits a layer counts',
    )


class Averaging(Section):
    """A moving average of the weights over the steps, which is evaluated and kept as the network."""

    decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.999,
        description="share of the average that is kept in a step t: at most (1 + t) / (10 + t), so that the first "
        "steps are forgotten soon",
    )


class Unfreezing(Section):
    """Layers that are frozen until an epoch begins."""

    epoch: Annotated[int, Field(ge=2)] = Field(description="the first epoch in which the layers are trained")
    layers: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="names of layers, or of models inside the network; `*` stands for any characters: `encoder*`"
    )

    @property
    def patterns(self) -> list[str]:
        """The names of layers."""
        return [self.layers] if isinstance(self.layers, str) else self.layers
