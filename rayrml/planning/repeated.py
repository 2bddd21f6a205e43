"""Plans of predictions with one network, for other files each time: the network is built and loaded once.

Everything else is planned anew, so that a file's prediction is that of a run with this file alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rayrml import storage
from rayrml.config.mistakes import Findings
from rayrml.config.reading import Document
from rayrml.config.sections import Config
from rayrml.data.datasets import Datasets
from rayrml.errors import ConfigError, Problem
from rayrml.networks.families import Family
from rayrml.networks.graph import Graph
from rayrml.networks.layers.layout import Shape
from rayrml.networks.network import Network
from rayrml.planning.inspection import Observation
from rayrml.planning.plan import InferencePlan
from rayrml.planning.preparation import Preparation
from rayrml.planning.splits import Folders
from rayrml.planning.starting_weights import LOAD
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint, LoadReport

_NAME = "prediction"


class _Layers(NamedTuple):
    """What was found out about a network's layers: the graph, and what a preparation knows then."""

    graph: Graph | None
    layers: Any
    named: Family | None
    section: Any


class RepeatedPreparation:
    """Plans predictions with the network of one checkpoint.

    Args:
        document: the configuration of the predictions, whose inputs are of no use.

    Raises:
        ConfigError: the configuration has mistakes that have nothing to do with inputs.
        DataError: the checkpoint cannot be read.
    """

    def __init__(self, document: Document):
        self.config = document.checked()
        path = self.config.neural_network.checkpoints.load
        self.checkpoint = checkpoints.load(path, LOAD) if path is not None else None
        self.layers: _Layers | None = None
        self.networks: dict[Shape | None, Network] = {}
        self.loaded: dict[int, LoadReport | None] = {}

    def check_network(self) -> None:
        """Build the network and load its weights, if it declares its inputs: others are built for their first file.

        Raises:
            ConfigError, DataError: the checkpoint has no weights for this network.
        """
        findings = Findings([])
        preparation = _Preparation(self.config, findings, self)
        graph = preparation._layers()
        if graph is not None and graph.declares_inputs:
            preparation._load(preparation._network(graph, None), self.checkpoint, None)
        if findings:
            raise findings.error()

    def plan(self, paths: Sequence[str]) -> InferencePlan:
        """The plan of the predictions for these files.

        Raises:
            ConfigError, DataError: the files cannot be read, or do not suit the network.
        """
        nn = self.config.neural_network
        data = nn.data.model_copy(update={"test_input_path": [storage.absolute(path) for path in paths]})
        config = self.config.model_copy(update={"neural_network": nn.model_copy(update={"data": data})})
        findings = Findings([])
        plan = _Preparation(config, findings, self).plan(_NAME)
        if not isinstance(plan, InferencePlan):
            raise ConfigError(Problem("neural_network.data", "expected inputs alone, without targets"))
        plan.network.accept(*plan.datasets.shapes)
        return plan


class _Preparation(Preparation):
    """A preparation that takes the network from earlier ones."""

    def __init__(self, config: Config, findings: Findings, kept: RepeatedPreparation):
        super().__init__(config, findings, Folders())
        self.kept = kept

    def _checkpoint(self) -> Checkpoint | None:
        return self.kept.checkpoint

    def _layers(self) -> Graph | None:
        if self.kept.layers is None:
            graph = super()._layers()
            self.kept.layers = _Layers(graph, self.layers, self.named, self.nn.layers)
            return graph
        found = self.kept.layers
        self.layers, self.named = found.layers, found.named
        self.nn = self.nn.model_copy(update={"layers": found.section})
        self.config = self.config.model_copy(update={"neural_network": self.nn})
        return found.graph

    def _network(self, read: Graph, shape: Shape | None) -> Network | None:
        network = self.kept.networks.get(shape)
        if network is None:
            self.kept.networks.clear()  # those for other inputs would fill the memory
            self.kept.loaded.clear()
            network = super()._network(read, shape)
            if network is not None:
                self.kept.networks[shape] = network
        return network

    def _load(
        self, network: Network | None, checkpoint: Checkpoint | None, datasets: Datasets | None
    ) -> LoadReport | None:
        if network is None or id(network) not in self.kept.loaded:
            report = super()._load(network, checkpoint, datasets)
            if network is not None and not self.findings:
                self.kept.loaded[id(network)] = report
            return report
        return self.kept.loaded[id(network)]

    def _observe(self, datasets: Datasets) -> dict[str, Observation]:
        return {}
