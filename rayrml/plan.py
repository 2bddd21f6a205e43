"""From a configuration to a plan: all that a run needs is read and checked, and all mistakes are found at once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from rayrml import checkpoints, graph
from rayrml.checkpoints import LoadReport
from rayrml.config import Config, override, parse, read_json
from rayrml.data.discovery import Samples, find_samples, label_by_folder
from rayrml.data.pipeline import Side, Source
from rayrml.data.readers import READERS, Reader
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.keras_weights import load_weights
from rayrml.lookup import Choice, choose
from rayrml.losses import LOSSES
from rayrml.network import Network, build
from rayrml.optimizers import OPTIMIZERS

_DATA = "neural_network.data"
KERAS_FILES = {".h5", ".hdf5", ".keras"}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration that was found to be right, with everything that it names.

    Attributes:
        config: the configuration.
        name: the run's name.
        layers: the network's Keras JSON.
        network: with initial or loaded weights, on the CPU.
        loss: row of the losses, None for inference.
        optimizer: row of the optimizers, None without training.
        training: training samples, None without training.
        test: test samples, None without evaluation or inference.
        classes: class names in the order of the network's outputs, () if unknown.
        loaded: what was loaded into the network, None if nothing was asked for.
    """

    config: Config
    name: str
    layers: Any
    network: Network
    loss: Choice | None
    optimizer: Choice | None
    training: Source | None
    test: Source | None
    classes: tuple[str, ...]
    loaded: LoadReport | None

    @property
    def is_inference(self) -> bool:
        """Whether there is nothing to train, and no target to compare predictions with."""
        return self.training is None and (self.test is None or self.test.samples.labels is None)


def prepare(config: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> Plan:
    """Everything that a run needs, checked as a whole before any of it is used.

    Raises:
        ConfigError, DataError: every mistake that can be found.
    """
    raw = config if isinstance(config, Mapping) else read_json(config)
    stem = "run" if isinstance(config, Mapping) else Path(config).stem
    parsed, mistakes = parse(override(raw, overrides))
    if parsed is None:
        raise ConfigError(*mistakes)
    findings = _Findings(list(mistakes))
    plan = _Preparation(parsed, findings).plan(parsed.ray.run_name or f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    findings.raise_if_any()
    if plan is None:
        raise RuntimeError("nothing was prepared, and nothing was found wrong")
    return plan


class _Findings:
    """Mistakes of all parts of a configuration, gathered so that they can be shown at once."""

    def __init__(self, mistakes: list[Problem]):
        self.mistakes = mistakes
        self.files: list[Problem] = []

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep the errors that the block raises; what depends on its result finds None."""
        try:
            yield
        except ConfigError as error:
            self.mistakes += error.problems
        except DataError as error:
            self.files += error.problems

    def add(self, where: str, message: str) -> None:
        self.mistakes.append(Problem(where, message))

    def raise_if_any(self) -> None:
        if self.mistakes:
            raise ConfigError(*self.mistakes, *self.files)
        if self.files:
            raise DataError(*self.files)


class _Preparation:
    """Looks at each part of a configuration, goes on after a mistake, and puts the plan together."""

    def __init__(self, config: Config, findings: _Findings):
        self.config = config
        self.nn = config.neural_network
        self.data = config.neural_network.data
        self.findings = findings

    def plan(self, name: str) -> Plan | None:
        self._consistency()
        loss = self._row(LOSSES, self.nn.loss, "loss", "function")
        optimizer = self._row(OPTIMIZERS, self.nn.optimizer, "optimizer", "type")
        reader = self._reader()
        checkpoint = self._checkpoint()
        training = self._samples(reader, self.data.input_path, "input_path")
        test = self._samples(reader, self.data.test_input_path, "test_input_path")
        known = checkpoint.classes if checkpoint else ()
        if training is not None:
            training = self._labelled(training, self.data.training_tag, "input_path", None)
            known = training.classes if training is not None else ()
        if test is not None and self._has_targets:
            test = self._labelled(test, self.data.test_tag, "test_input_path", known or None)
            known = known or (test.classes if test is not None else ())
        shape = self._shape(reader, training or test)
        layers = self._layers()
        network = self._network(layers, shape)
        if network is None:
            return None
        self._outputs(network, known)
        loaded = self._load(network, checkpoint)
        if reader is None or shape is None:
            return None
        return Plan(
            config=self.config,
            name=name,
            layers=layers,
            network=network,
            loss=loss,
            optimizer=optimizer if training else None,
            training=None if training is None else Source(Side(training, reader, shape), None, "training"),
            test=None if test is None else Source(Side(test, reader, shape), None, "test"),
            classes=known,
            loaded=loaded,
        )

    @property
    def _has_targets(self) -> bool:
        return self.data.targets is not None

    def _consistency(self) -> None:
        """Keys that need one another."""
        data, nn = self.data, self.nn
        if not data.input_path and not data.test_input_path:
            self.findings.add(_DATA, "there is nothing to do. Expected input_path, test_input_path, or both")
        if data.input_path and not self._has_targets:
            self.findings.add(_DATA, 'training needs targets. Expected target_type, for example "labels"')
        evaluates = self._has_targets and data.test_input_path
        if (data.input_path or evaluates) and nn.loss is None:
            self.findings.add("neural_network", "the section 'loss' is missing")
        if data.input_path and nn.optimizer is None:
            self.findings.add("neural_network", "the section 'optimizer' is missing")
        if data.test_output_path and not data.test_input_path:
            self.findings.add(f"{_DATA}.test_output_path", "there is nothing to predict without test_input_path")
        if data.targets not in (None, "labels"):
            key = "target_type" if data.target_type else "type"
            self.findings.add(f"{_DATA}.{key}", f"cannot be a target: '{data.targets}'. Expected 'labels'")
        for key in ("target_path", "test_target_path"):
            if getattr(data, key) and data.targets == "labels":
                self.findings.add(f"{_DATA}.{key}", "is of no use with labels: the class is the name of the folder")

    def _row(self, rows: Any, section: dict[str, Any] | None, name: str, key: str) -> Choice | None:
        with self.findings.gathering():
            return None if section is None else choose(rows, section, f"neural_network.{name}", key)
        return None

    def _reader(self) -> Choice | None:
        if self.data.inputs is None:
            self.findings.add(_DATA, f"'input_type' is missing. Expected one of {', '.join(READERS)}")
            return None
        key = "input_type" if self.data.input_type else "type"
        with self.findings.gathering():
            section = {key: self.data.inputs, "grayscale": self.data.one_channel("input")}
            return choose(READERS, section, _DATA, key)
        return None

    def _samples(self, reader: Choice | None, path: str | None, key: str) -> Samples | None:
        if reader is None or path is None:
            return None
        built: Reader = reader.build()
        with self.findings.gathering():
            return find_samples(path, built.extensions, f"{_DATA}.{key}")
        return None

    def _labelled(self, samples: Samples, tag: str | None, key: str, classes: Any) -> Samples | None:
        with self.findings.gathering():
            return label_by_folder(samples, tag, f"{_DATA}.{key}", classes)
        return None

    def _shape(self, reader: Choice | None, samples: Samples | None) -> tuple[int, ...] | None:
        """The shape of the first sample, which all others must have."""
        if reader is None or samples is None:
            return None
        with self.findings.gathering():
            built: Reader = reader.build()
            return built.decode(samples.path(0)).shape
        return None

    def _checkpoint(self) -> checkpoints.Checkpoint | None:
        path = self.nn.checkpoints.load
        if path is None or Path(path).suffix in KERAS_FILES:
            return None
        with self.findings.gathering():
            return checkpoints.load(path, "neural_network.checkpoints.load")
        return None

    def _load(self, network: Network, checkpoint: checkpoints.Checkpoint | None) -> LoadReport | None:
        path, where = self.nn.checkpoints.load, "neural_network.checkpoints.load"
        with self.findings.gathering():
            if checkpoint is not None and path is not None:
                return checkpoints.load_into(network, checkpoint.network, path, where)
            if path is not None and Path(path).suffix in KERAS_FILES:
                return load_weights(network, path, where)
        return None

    def _layers(self) -> Any:
        with self.findings.gathering():
            layers = self.nn.layers
            return read_json(layers, "neural_network.layers") if isinstance(layers, str) else layers
        return None

    def _network(self, layers: Any, shape: tuple[int, ...] | None) -> Network | None:
        """The network with initial weights, if samples of that shape fit into it."""
        if layers is None:
            return None
        with self.findings.gathering():
            torch.manual_seed(self.nn.seed)
            network = build(graph.read(layers, "layers"), shape)
            if shape is not None:
                misfit = network.check_input(shape)
                if misfit is not None:
                    self.findings.add(f"{_DATA}", misfit + self._gray_hint(network, shape))
            if self.data.input_path and network.num_trainable_parameters == 0:
                self.findings.add("neural_network.layers", "there is nothing to train: no layer has trainable weights")
            return network
        return None

    def _gray_hint(self, network: Network, shape: tuple[int, ...]) -> str:
        expected = network.input_shapes[0][0]
        if (expected, shape[0]) == (1, 3):
            return '. "grayscale": true reads images with one channel'
        return ""

    def _outputs(self, network: Network, classes: tuple[str, ...]) -> None:
        """Class indices must be indices of the network's output."""
        output = network.output_shapes[0]
        if classes and self._has_targets and output[0] not in (None, len(classes)):
            *_, last = network.summary()
            message = (
                f"the network's last layer '{last.name}' gives {output[0]} values a sample, "
                f"but there are {len(classes)} classes: {', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
            )
            self.findings.add("neural_network.layers", message)
