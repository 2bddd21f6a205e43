"""From a configuration to a plan: everything that a run needs is read and checked, with all mistakes found at once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.mistakes import Findings, no_problems
from rayrml.config.network_files import read_network_file
from rayrml.config.reading import AnyConfiguration, read_configuration
from rayrml.config.sections import Config, Data
from rayrml.config.tables import Choice, choose
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import BOXES, DATA
from rayrml.data.transforms import Placed, parse_transforms
from rayrml.errors import ConfigError, DataError
from rayrml.losses import LOSSES, Loss
from rayrml.networks.affine import with_affine_batch_norm
from rayrml.networks.families import Family
from rayrml.networks.families.sizes import naming_sizes
from rayrml.networks.graph import Graph, read_graph
from rayrml.networks.layers.layer import smallest
from rayrml.networks.layers.layout import Shape
from rayrml.networks.network import Network, build
from rayrml.networks.shapes import open_differing
from rayrml.planning.adversarial_warnings import warn_of_generation
from rayrml.planning.application import GAN, application_of, generates_alone
from rayrml.planning.box_check import describe_anchors
from rayrml.planning.box_targets import BoxTargets
from rayrml.planning.class_balance import check_sampling, with_class_weights
from rayrml.planning.consistency import check_consistency
from rayrml.planning.critic import CriticPlan, CriticPreparation, find_misfits_of_generator
from rayrml.planning.data_types import DataTypes, find_types, with_noise
from rayrml.planning.datasets import DatasetsPreparation
from rayrml.planning.expectations import Expectations, Labelling
from rayrml.planning.figures import check_stopping, check_threshold, choose_metric
from rayrml.planning.flips_check import check_flips
from rayrml.planning.generation import choose_judge
from rayrml.planning.grids import find_grids
from rayrml.planning.input_fit import adapt_input
from rayrml.planning.inspection import Observation, observe
from rayrml.planning.loss_statistics import complete_loss
from rayrml.planning.named_network import complete, find_family, is_complete, tells_shapes
from rayrml.planning.network_check import check_outputs, divide_activations
from rayrml.planning.pictures import Pictures, choose_pictures, warn_of_pictures
from rayrml.planning.plan import EvaluationPlan, InferencePlan, Plan, TrainingPlan
from rayrml.planning.settings import Settings
from rayrml.planning.splits import Folders, complete_paths
from rayrml.planning.starting_weights import LOAD, is_foreign, load_start
from rayrml.planning.table_targets import LabelTables
from rayrml.planning.target_values import read_class_numbers, with_value_rules
from rayrml.planning.training_boxes import TrainingBoxes
from rayrml.planning.updates import Updates, choose_updates, follow_network
from rayrml.planning.warnings import list_warnings
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import LoadReport
from rayrml.storage import in_pieces


def prepare(config: AnyConfiguration, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Everything that a run needs, all of it checked before any of it is used.

    Raises:
        ConfigError, DataError: every mistake that can be found, with its line if the configuration is a file.
    """
    document = read_configuration(config, overrides)
    parsed, mistakes = document.parsed
    with document.locating_mistakes(), in_pieces():
        if parsed is None:
            raise ConfigError(*mistakes)
        name = parsed.ray.run_name or f"{document.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        findings, folders = Findings(mistakes), Folders()
        with findings.gathering():
            parsed, folders = complete_paths(parsed)
        return Preparation(parsed, findings, folders).plan(name)


class Preparation:
    """Checks each part of a configuration, continuing after a mistake, and assembles the plan."""

    def __init__(self, config: Config, findings: Findings, folders: Folders):
        self.config = config
        self.folders = folders
        self.nn = config.neural_network
        self.data = config.neural_network.data
        self.findings = findings
        self.layers: Any = None  # Keras JSON
        self.named: Family | None = None
        self.critic: CriticPreparation | None = None  # of a generator

    def plan(self, name: str) -> Plan:
        """The plan of a run with this name. Raises ConfigError or DataError with everything that is wrong."""
        loss = self._row(LOSSES, self.nn.loss, "loss", "function")
        self.nn = self.nn.model_copy(update={"app": self.nn.app or application_of(loss, self.data)})
        labelling = self._labelling(loss)
        updates = choose_updates(self.nn.optimizer, self.config.ray, self.findings)
        types = self._find_types(loss)
        settings, self.types = Settings(self.nn, types, loss, updates.optimizer, self.config.ray), types
        check_consistency(settings, self.findings)
        checkpoint = self._checkpoint()
        self.critic = self._critic(checkpoint)
        graph = self._layers()
        targets = (checkpoint.classes if checkpoint else (), labelling)
        network, datasets = self._network_and_datasets(graph, loss.build() if loss else None, types, targets)
        loaded = self._load(network, checkpoint, datasets)
        if network is None or datasets is None:
            raise self._error()
        settings = self._with_columns(labelling.tables, settings)
        boxes = TrainingBoxes(datasets)
        loss = self._with_statistics(loss, network, boxes, checkpoint.loss if checkpoint else {})
        settings = dataclasses.replace(settings, loss=loss)
        updates = follow_network(updates, self.nn, network, self.findings) if self.data.trains else Updates()
        critic, judge = self.critic and self.critic.plan(), choose_judge(self.nn, network, self.findings)
        metric, pictures = self._results(settings, network, datasets)
        datasets = with_value_rules(datasets, settings.types, loss, network.output_shapes[0][0])
        observations = self._observe(datasets)
        if self.findings:
            raise self._error()
        # The checks above have ensured that each kind has what it needs.
        sources = {name: getattr(datasets, name) for name in ("training", "test", "final_test")}
        parts: dict[str, Any] = {"loss": loss, "critic": critic, "judge": judge, **updates._asdict(), **sources}
        warned = [*labelling.tables.notes, *(loaded.warnings if loaded else ())]
        warned += self._warn(network, boxes, settings, (updates, checkpoint, critic))
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
            targets=labelling.tables.description,
            notes=(*labelling.boxes.notes, *describe_anchors(boxes, settings)),
            warnings=(*warned, *warn_of_pictures(pictures, settings)),
            **parts,
        )

    def _find_types(self, loss: Choice | None) -> DataTypes:
        """The types of inputs and targets, as far as the section `data` tells."""
        types = find_types(self.data, self.findings, reads=not generates_alone(self.nn))
        return read_class_numbers(types, loss, self._target_transforms())

    def _critic(self, checkpoint: checkpoints.Checkpoint | None) -> CriticPreparation | None:
        """What prepares the critic, None if no generator is compared with anything."""
        if self.nn.app != GAN or generates_alone(self.nn):
            return None
        kept = {} if checkpoint is None else checkpoint.critic
        return CriticPreparation(self.nn, self.config.ray, self.findings, kept)

    def _results(self, settings: Settings, network: Network, datasets: Datasets) -> tuple[str | None, Pictures]:
        """The metric, and what becomes pictures. Raises ConfigError or DataError with all mistakes up to here."""
        if self.findings.concern("neural_network.app"):
            raise self._error()  # what follows would say that the network does not go with the samples
        if self.nn.app != GAN:
            check_outputs(network, datasets, settings.loss, self.findings)
        check_threshold(self.data, self.findings)
        check_flips(settings, network, datasets, self.findings)
        metric = choose_metric(settings, network, self.findings)
        pictures = choose_pictures(settings, network, datasets, self.findings)
        self._stop_by_distance(metric)
        check_stopping(self.nn, metric, tested=datasets.test_targets, findings=self.findings)
        if self.findings:
            raise self._error()
        return metric, pictures

    def _warn(
        self,
        network: Network,
        boxes: TrainingBoxes,
        settings: Settings,
        others: tuple[Updates, checkpoints.Checkpoint | None, CriticPlan | None],
    ) -> Iterator[str]:
        """Sentences on what is probably wrong, also with the updates, with what is loaded, and with the critic."""
        (updates, checkpoint, critic), given = others, (settings, self.config.ray)
        known: dict[str, Any] = {"boxes": boxes, "updates": updates, "named": self.named, "checkpoint": checkpoint}
        yield from list_warnings(network, boxes.datasets, given, **known)
        if critic is not None:
            yield from warn_of_generation(critic, network, boxes.datasets, given)

    def _stop_by_distance(self, metric: str | None) -> None:
        """Let a generator's training end by its metric unless another figure is named: losses tell nothing."""
        stopping = self.nn.early_stopping
        if self.nn.app == GAN and metric and stopping is not None and "metric" not in stopping.model_fields_set:
            by_metric = stopping.model_copy(update={"metric": metric})
            self.nn = self.nn.model_copy(update={"early_stopping": by_metric})
            self.config = self.config.model_copy(update={"neural_network": self.nn})

    def _load(
        self, network: Network | None, checkpoint: checkpoints.Checkpoint | None, datasets: Datasets | None
    ) -> LoadReport | None:
        """What is loaded into the network; None if nothing is requested."""
        if network is None:
            return None
        num_classes = len(datasets.classes) if datasets is not None and self.nn.app == "obj" else None
        return load_start(network, checkpoint, (self.nn, self.named), self.findings, num_classes=num_classes)

    def _labelling(self, loss: Choice | None) -> Labelling:
        """Where targets are; the paths that follow from tables are completed."""
        tables = LabelTables(self.data, loss, partial=self.findings.concern(DATA))
        with self.findings.gathering():
            self._replace_data(tables.complete_paths())
        return Labelling(tables, BoxTargets(self.data))

    def _with_columns(self, tables: LabelTables, settings: Settings) -> Settings:
        """The settings with what was found out about the columns of tables."""
        self._replace_data(tables.complete_columns(self.data))
        return dataclasses.replace(settings, nn=self.nn, types=dataclasses.replace(self.types, data=self.data))

    def _with_statistics(
        self, loss: Choice | None, network: Network, boxes: TrainingBoxes, recorded: Mapping[str, Any]
    ) -> Choice | None:
        """The loss with what it takes from the training samples or, without any, from what a checkpoint recorded."""
        datasets = boxes.datasets
        if not self.findings.concern(f"{DATA}.sampling"):
            with self.findings.gathering():
                check_sampling(datasets, self.data.sampling)
        with self.findings.gathering():
            loss = with_class_weights(complete_loss(loss, datasets, recorded), datasets, recorded)
        told = bool(self.findings.files) or self.findings.concern(DATA)
        with self.findings.gathering(), no_problems(told):
            return find_grids(loss, network, boxes, recorded)
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
        """What some samples of each dataset show. Raises ConfigError or DataError with all mistakes up to here."""
        found: dict[str, Observation] = {}
        for source in datasets.sources.values():
            with self.findings.gathering():
                found[source.name] = observe(source, skips_bad=self.data.skips)
        if self.findings:
            raise self._error()
        return found

    def _error(self) -> ConfigError | DataError:
        """Everything that is wrong; mistakes in a network file have the file's lines."""
        if isinstance(self.nn.layers, str):
            self.findings.mistakes = with_lines_in_network(self.findings.mistakes, self.nn.layers)
        return self.findings.error()

    def _network_and_datasets(
        self, read: Graph | None, loss: Loss | None, types: DataTypes, targets: tuple[Sequence[str], Labelling]
    ) -> tuple[Network | None, Datasets | None]:
        """The network and the samples; a network that does not declare its input is built for the samples.

        `targets` are the classes of a checkpoint, and where targets are.
        """
        known_classes, labelling = targets
        network = self._network(read, None) if read is not None and read.declares_inputs else None
        if self.nn.app == GAN:
            types = self._begin_generator(read, network, types)
        takes = network if self.critic is None else self.critic.network
        expected = takes or (self.named if self.named is not None and tells_shapes(self.named) else None)
        expectations = Expectations(
            loss=loss is not None,
            shares=loss is not None and (loss.targets == "arrays" or loss.accepts_shares),
            input_rank=expected and len(expected.input_shapes[0]),
            output_rank=expected and len(expected.output_shapes[0]),
            input_shape=expected and expected.input_shapes[0],
            num_classes=_count_classes(expected, loss),
            boxes=loss is not None and loss.targets == BOXES and self.data.targets in (None, BOXES),
            generated=self.critic is not None and loss is not None,
        )
        preparation = DatasetsPreparation(types, self.findings, expectations, labelling)
        datasets = preparation.datasets(known_classes)
        self._replace_data(preparation.types.data)
        self.types = preparation.types
        if self.critic is not None:
            if datasets is not None:
                self.critic.adapt_to(datasets, network, self.types.input_reader)
            if network is not None:
                divide_activations(network, self.nn.activation_checkpointing, self.findings)
            return network, datasets
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

    def _begin_generator(self, read: Graph | None, network: Network | None, types: DataTypes) -> DataTypes:
        """Check what can be known of a generator and its critic before samples are read; returns the types of these."""
        if self.named is not None:
            self.findings.add("neural_network.layers", "a network by name takes images. Expected a generator's layers")
        elif read is not None and network is None and not read.declares_inputs:
            message = "the generator does not declare its input: how many random numbers it takes"
            self.findings.add("neural_network.layers", f'{message}. Expected "batch_input_shape" in its first layer')
        if self.critic is not None:
            self.critic.read()
            self.critic.compare_with(network)
            return types
        problems = [] if network is None else find_misfits_of_generator(network)
        self.findings.mistakes += problems
        if network is None or problems or self.findings.concern(DATA):
            return types
        return with_noise(types, smallest(network.input_shapes[0]), self.nn.seed)

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


def _kind_of(datasets: Datasets) -> type[Plan]:
    """What a run with these samples is."""
    if datasets.training is not None:
        return TrainingPlan
    return EvaluationPlan if datasets.test_targets else InferencePlan


def _count_classes(network: Network | Family | None, loss: Loss | None) -> int | None:
    """How many classes the loss tells apart in the network's output, None if that is not known."""
    channels = None if network is None else next(iter(network.output_shapes[0]), None)
    return None if loss is None or channels is None else loss.classes_of(channels)
