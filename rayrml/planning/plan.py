"""What a run is to do: a valid configuration, with everything that it names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rayrml.config.optimization import OptimizerOptions
from rayrml.config.sections import Config
from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.data.sources import Source
from rayrml.inference.judge import Judge
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.network import Network
from rayrml.planning.critic import CriticPlan
from rayrml.planning.inspection import Observation
from rayrml.planning.pictures import Pictures
from rayrml.planning.splits import Folders
from rayrml.saving.checkpoints import LoadReport


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A valid configuration, with everything that it names.

    Attributes:
        config: the configuration.
        name: the run's name.
        layers: the network's Keras JSON.
        network: with initial or loaded weights, on the CPU.
        metric: row of the metrics that evaluation reports next to the loss, None for none.
        pictures: how outputs that are images become pictures.
        loss: row of the losses, None for inference without one.
        optimizer: row of the optimizers, None without training.
        options: the keys that all optimizers have.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        rates: factors of the learning rate by the names of layers, 1 for all others.
        unfreezing: the first epoch in which layers are trained that are frozen at first, by their names.
        training: samples to train on, None without training.
        test: samples to evaluate on or to predict, None without any.
        datasets: what training and test samples have in common.
        critic: the second network of a generator, None for other networks, and where samples are only generated.
        judge: the classifier by which generated samples are compared with real ones, None without one.
        loaded: what was loaded into the network, None if nothing was to be loaded.
        observations: what some samples have shown, by the name of their dataset.
        warnings: sentences on what is probably wrong with the network or the samples.
        final_test: samples to evaluate on once, with the best model, after training; None without any.
        folders: what became of the folders that the configuration names.
        targets: a sentence on the columns of the table that holds the targets, None without one.
        notes: sentences on the labels of boxes and on what was made of them.
    """

    config: Config
    name: str
    layers: Any
    network: Network
    datasets: Datasets
    loaded: LoadReport | None
    observations: Mapping[str, Observation]
    warnings: tuple[str, ...]
    metric: str | None
    pictures: Pictures
    loss: Choice | None
    optimizer: Choice | None
    options: OptimizerOptions
    schedule: ScheduleChoice | None
    rates: Mapping[str, float]
    unfreezing: Mapping[str, int]
    training: Source | None
    test: Source | None
    final_test: Source | None = None
    folders: Folders = dataclasses.field(default_factory=Folders)
    targets: str | None = None
    notes: tuple[str, ...] = ()
    critic: CriticPlan | None = None
    judge: Judge | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs, () if unknown."""
        return self.datasets.classes

    @property
    def sources(self) -> list[Source]:
        """All samples there are: those to train on and those to test with."""
        return [source for source in (self.training, self.test, self.final_test) if source is not None]

    @property
    def is_inference(self) -> bool:
        """Whether the run neither trains nor has targets to compare predictions with."""
        return isinstance(self, InferencePlan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingPlan(Plan):
    """A network is trained, and evaluated after each epoch if there are test samples."""

    loss: Choice
    optimizer: Choice
    training: Source

    def without_final_test(self) -> TrainingPlan:
        """The same plan without the final test."""
        return dataclasses.replace(self, final_test=None, datasets=dataclasses.replace(self.datasets, final_test=None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationPlan(Plan):
    """A trained network is compared with targets."""

    loss: Choice
    test: Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferencePlan(Plan):
    """A trained network's outputs are written; there are no targets."""

    test: Source
