"""What the rules between keys check: the configuration, and what its data types and rows of tables are."""

from __future__ import annotations

import dataclasses

from rayrml.config.cluster import Ray
from rayrml.config.sections import Data, NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.planning.data_types import DataTypes


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the rules check.

    Attributes:
        nn: the section `neural_network`.
        types: the types of inputs and targets.
        loss: row of the losses, None if there is none or it has a mistake.
        optimizer: row of the optimizers, None likewise.
        ray: the section `ray`.
    """

    nn: NeuralNetwork
    types: DataTypes
    loss: Choice | None
    optimizer: Choice | None
    ray: Ray = dataclasses.field(default_factory=Ray)

    @property
    def data(self) -> Data:
        """The section `neural_network.data`."""
        return self.nn.data
