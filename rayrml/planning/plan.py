"""From a configuration to a plan: everything that a run needs is read and checked, with all mistakes found at once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.mistakes import Findings
from rayrml.config.network_files import read_network_file
from rayrml.config.optimization import OptimizerOptions
from rayrml.config.reading import AnyConfiguration, read_configuration
from rayrml.config.sections import Config, Data
from rayrml.config.tables import Choice, choose
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import DATA
from rayrml.data.sources import Source
from rayrml.data.transforms import Placed, parse_transforms
from rayrml.errors import ConfigError, DataError
from rayrml.losses import LOSSES, Loss
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.affine import with_affine_batch_norm
from rayrml.networks.families import Family
from rayrml.networks.families.sizes import naming_sizes
from rayrml.networks.graph import Graph, read_graph
from rayrml.networks.layers.layout import Shape
from rayrml.networks.network import Network, build
from rayrml.networks.shapes import open_differing
from rayrml.planning.class_balance import check_sampling, warn_of_imbalance, with_class_weights
from rayrml.planning.consistency import Settings, check_consistency
from rayrml.planning.data_types import DataTypes, find_types
from rayrml.planning.datasets import DatasetsPreparation, Expectations
from rayrml.planning.figures import check_stopping, check_threshold, choose_metric
from rayrml.planning.flips_check import check_flips
from rayrml.planning.input_fit import adapt_input
from rayrml.planning.inspection import Observation, observe
from rayrml.planning.loss_statistics import complete_loss
from rayrml.planning.named_network import complete, find_family, is_complete, tells_shapes
from rayrml.planning.network_check import (
    check_outputs,
    divide_activations,
    warn_of_batch_norm,
    warn_of_ending,
    warn_of_initial_statistics,
    warn_of_small_parts,
)
from rayrml.planning.pictures import Pictures, choose_pictures, warn_of_pictures
from rayrml.planning.pixel_ranges import warn_of_pixels
from rayrml.planning.scaling_check import warn_of_scaling
from rayrml.planning.splits import Folders, complete_paths
from rayrml.planning.starting_weights import LOAD, is_foreign, load_start
from rayrml.planning.table_targets import LabelTables
from rayrml.planning.target_values import read_class_numbers, with_value_rules
from rayrml.planning.updates import Updates, choose_updates, follow_network, warn_of_decay, warn_of_unfreezing
from rayrml.saving import checkpoints
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
        loaded: what was loaded into the network, None if nothing was to be loaded.
        observations: what some samples have shown, by the name of their dataset.
        warnings: sentences on what is probably wrong with the network or the samples.
        final_test: samples to evaluate on once, with the best model, after training; None without any.
        folders: what became of the folders that the configuration names.
        targets: a sentence on the columns of the table that holds the targets, None without one.
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


def prepare(config: AnyConfiguration, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Everything that a run needs, all of it checked before any of it is used.

    Raises:
        ConfigError, DataError: every mistake that can be found, with its line if the configuration is a file.
    """
    document = read_configuration(config, overrides)
    parsed, mistakes = document.parsed
    with document.locating_mistakes():
        if parsed is None:
            raise ConfigError(*mistakes)
        name = parsed.ray.run_name or f"{document.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        findings, folders = Findings(mistakes), Folders()
        with findings.gathering():
            parsed, folders = complete_paths(parsed)
        return _Preparation(parsed, findings, folders).plan(name)


class _Preparation:
    """Checks each part of a configuration, continuing after a mistake, and assembles the plan."""

    def __init__(self, config: Config, findings: Findings, folders: Folders):
        self.config = config
        self.folders = folders
        self.nn = config.neural_network
        self.data = config.neural_network.data
        self.findings = findings
        self.layers: Any = None  # Keras JSON
        self.named: Family | None = None

    def plan(self, name: str) -> Plan:
        """The plan of a run with this name. Raises ConfigError or DataError with everything that is wrong."""
        loss = self._row(LOSSES, self.nn.loss, "loss", "function")
        tables = self._tables(loss)
        updates = choose_updates(self.nn.optimizer, self.config.ray, self.findings)
        types = read_class_numbers(find_types(self.data, self.findings), loss, self._target_transforms())
        settings, self.types = Settings(self.nn, types, loss, updates.optimizer, self.config.ray), types
        check_consistency(settings, self.findings)
        checkpoint = self._checkpoint()
        graph = self._layers()
        built: Loss | None = None if loss is None else loss.build()
        known_classes = checkpoint.classes if checkpoint else ()
        network, datasets = self._network_and_datasets(graph, built, types, (known_classes, tables))
        loaded = None if network is None else load_start(network, checkpoint, (self.nn, self.named), self.findings)
        if network is None or datasets is None:
            raise self._error()
        settings = self._with_columns(tables, settings)
        loss = self._with_statistics(loss, datasets, checkpoint)
        updates = follow_network(updates, self.nn, network, self.findings) if self.data.trains else Updates()
        check_outputs(network, datasets, loss, self.findings)
        check_threshold(self.data, self.findings)
        check_flips(settings, network, datasets, self.findings)
        metric = choose_metric(settings, network, self.findings)
        pictures = choose_pictures(settings, network, datasets, self.findings)
        check_stopping(self.nn, metric, tested=datasets.test_targets, findings=self.findings)
        if self.findings:
            raise self._error()
        datasets = with_value_rules(datasets, settings.types, loss, network.output_shapes[0][0])
        observations = self._observe(datasets)
        if self.findings:
            raise self._error()
        warned = [*(loaded.warnings if loaded else ()), *self._warn(network, datasets, settings, updates)]
        # The checks above have ensured that each kind has what it needs.
        parts: dict[str, Any] = {"loss": loss, **updates._asdict()}
        return _kind_of(datasets)(
            config=self.config,
            name=name,
            layers=self.layers,
            network=network,
            datasets=datasets,
            metric=metric,
            pictures=pictures,
            loaded=loaded,
            observations=observations,
            folders=self.folders,
            targets=tables.description,
            warnings=(*tables.notes, *warned, *warn_of_pictures(pictures, settings)),
            **{name: getattr(datasets, name) for name in ("training", "test", "final_test")},
            **parts,
        )

    def _tables(self, loss: Choice | None) -> LabelTables:
        """The tables of targets; the paths that follow from them are completed."""
        tables = LabelTables(self.data, loss, partial=self.findings.concern(DATA))
        with self.findings.gathering():
            self._replace_data(tables.complete_paths())
        return tables

    def _with_columns(self, tables: LabelTables, settings: Settings) -> Settings:
        """The settings with what was found out about the columns of tables."""
        self._replace_data(tables.complete_columns(self.data))
        return dataclasses.replace(settings, nn=self.nn, types=dataclasses.replace(self.types, data=self.data))

    def _with_statistics(
        self, loss: Choice | None, datasets: Datasets, checkpoint: checkpoints.Checkpoint | None
    ) -> Choice | None:
        """The loss with what it takes from the training samples."""
        recorded = checkpoint.loss if checkpoint else {}
        if not self.findings.concern(f"{DATA}.sampling"):
            with self.findings.gathering():
                check_sampling(datasets, self.data.sampling)
        with self.findings.gathering():
            return with_class_weights(complete_loss(loss, datasets, recorded), datasets, recorded)
        return loss

    def _replace_data(self, data: Data) -> None:
        """Use a section `data` in which keys were completed."""
        self.data = data
        self.nn = self.nn.model_copy(update={"data": data})
        self.config = self.config.model_copy(update={"neural_network": self.nn})

    def _target_transforms(self) -> tuple[Placed, ...]:
        """What is done to targets; mistakes in it are found later."""
        with contextlib.suppress(ConfigError):
            return parse_transforms(self.data.transforms or self.data.target_transforms, DATA)
        return ()

    def _observe(self, datasets: Datasets) -> dict[str, Observation]:
        """What some samples of each dataset show."""
        found: dict[str, Observation] = {}
        for source in datasets.sources.values():
            with self.findings.gathering():
                found[source.name] = observe(source, skips_bad=self.data.skips)
        return found

    def _error(self) -> ConfigError | DataError:
        """Everything that is wrong; mistakes in a network file have the file's lines."""
        if isinstance(self.nn.layers, str):
            self.findings.mistakes = with_lines_in_network(self.findings.mistakes, self.nn.layers)
        return self.findings.error()

    def _network_and_datasets(
        self, read: Graph | None, loss: Loss | None, types: DataTypes, targets: tuple[Sequence[str], LabelTables]
    ) -> tuple[Network | None, Datasets | None]:
        """The network and the samples; a network that does not declare its input is built for the samples.

        `targets` are the classes of a checkpoint, and the tables.
        """
        known_classes, tables = targets
        network = self._network(read, None) if read is not None and read.declares_inputs else None
        expected = network or (self.named if self.named is not None and tells_shapes(self.named) else None)
        expectations = Expectations(
            loss=loss is not None,
            shares=loss is not None and (loss.targets == "arrays" or loss.accepts_shares),
            input_rank=expected and len(expected.input_shapes[0]),
            output_rank=expected and len(expected.output_shapes[0]),
            input_shape=expected and expected.input_shapes[0],
            num_classes=_count_classes(expected, loss),
        )
        preparation = DatasetsPreparation(types, self.findings, expectations, tables)
        datasets = preparation.datasets(known_classes)
        self._replace_data(preparation.types.data)
        self.types = preparation.types
        if self.named is not None and read is None and datasets is not None:
            with self.findings.gathering():
                read = self._named_graph(complete(self.named, datasets, loss))
            network = read and self._network(read, None)
        if read is not None and not read.declares_inputs and datasets is not None:
            network = self._network(read, open_differing(*datasets.shapes))
        if network is not None and datasets is not None:
            adapt_input(network, datasets, self.findings)
            divide_activations(network, self.nn.activation_checkpointing, self.findings)
        return network, datasets

    def _row(self, rows: Any, section: dict[str, Any] | None, name: str, key: str) -> Choice | None:
        with self.findings.gathering():
            return None if section is None else choose(rows, section, f"neural_network.{name}", key)
        return None

    def _checkpoint(self) -> checkpoints.Checkpoint | None:
        path = self.nn.checkpoints.load
        if path is None or is_foreign(path):
            return None
        with self.findings.gathering():
            return checkpoints.load(path, LOAD)
        return None

    def _layers(self) -> Graph | None:
        """The graph of the network; None if there are mistakes in it, or a network by name waits for the samples."""
        with self.findings.gathering():
            self.named = find_family(self.nn)
            given = self.nn.layers
            if self.named is not None:
                return self._named_graph(self.named) if is_complete(self.named) else None
            return self._graph(read_network_file(given, "neural_network.layers") if isinstance(given, str) else given)
        return None

    def _named_graph(self, family: Family) -> Graph | None:
        """The graph of a network by name; the configuration says from now on what was found out for it."""
        self.nn = self.nn.model_copy(update={"layers": family.section})
        self.config = self.config.model_copy(update={"neural_network": self.nn})
        self.named = family
        return self._graph(family.layers())

    def _graph(self, layers: Any) -> Graph | None:
        """The network's graph; if it has its own file, mistakes in it are placed at `layers`, the file's content."""
        place = "layers" if isinstance(self.nn.layers, str) else "neural_network.layers"
        with self.findings.gathering():
            self.layers = with_affine_batch_norm(layers) if self.nn.train_batch_norm == "affine" else layers
            return read_graph(self.layers, place)
        return None

    def _network(self, read: Graph, shape: Shape | None) -> Network | None:
        """The network with initial weights; `shape` is the samples' shape if it does not declare its input."""
        with self.findings.gathering():
            torch.manual_seed(self.nn.seed)
            with naming_sizes(self.named, "neural_network.layers.input"):
                network = build(read, shape)
            if self.data.trains and network.num_trainable_parameters == 0:
                self.findings.add("neural_network.layers", "nothing to train: no layer has trainable weights")
            return network
        return None

    def _warn(self, network: Network, datasets: Datasets, settings: Settings, updates: Updates) -> Iterator[str]:
        """Sentences on what is probably wrong with the network or the samples."""
        yield from warn_of_ending(network, settings.loss)
        yield from warn_of_scaling(network, datasets, settings.types)
        yield from warn_of_pixels(self.named, settings)
        if datasets.training is not None:
            yield from warn_of_batch_norm(network)
            accumulate, batch_size = updates.options.accumulate, settings.data.batch_size
            yield from warn_of_small_parts(network, batch_size, accumulate, self.config.ray)
            num_steps = datasets.training.count_batches(batch_size) * accumulate * settings.nn.num_epochs
            yield from warn_of_initial_statistics(network, num_steps)
        yield from warn_of_decay(updates)
        yield from warn_of_unfreezing(network, updates.unfreezing, settings.nn.num_epochs)
        yield from warn_of_imbalance(datasets, settings.loss, settings.data.sampling)


def _kind_of(datasets: Datasets) -> type[Plan]:
    """What a run with these samples is."""
    if datasets.training is not None:
        return TrainingPlan
    return EvaluationPlan if datasets.test_targets else InferencePlan


def _count_classes(network: Network | Family | None, loss: Loss | None) -> int | None:
    """How many classes the loss tells apart in the network's output, None if that is not known."""
    channels = None if network is None else next(iter(network.output_shapes[0]), None)
    return None if loss is None or channels is None else loss.classes_of(channels)
