"""The critic of a generator: read, built, and compared with the generator and with the samples that it learns from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from rayrml.config.cluster import Ray
from rayrml.config.line_numbers import with_lines_in_network
from rayrml.config.mistakes import Findings
from rayrml.config.named_networks import is_named
from rayrml.config.network_files import read_network_file
from rayrml.config.sections import NeuralNetwork
from rayrml.data.datasets import Datasets
from rayrml.data.draws import mix_seed
from rayrml.data.image_range import find_image_range
from rayrml.data.reader_keys import DATA
from rayrml.data.readers import Reader
from rayrml.data.transforms.mixing import PairTransform
from rayrml.errors import ConfigError, Problem
from rayrml.networks.affine import with_affine_batch_norm
from rayrml.networks.ending import find_activations_at_end, find_ending
from rayrml.networks.graph import Graph, read_graph
from rayrml.networks.layers.layer import format_shape
from rayrml.networks.network import Network, build
from rayrml.networks.shapes import fits
from rayrml.planning.adversarial_rules import refuse_updates
from rayrml.planning.generator_range import compare_ranges
from rayrml.planning.input_fit import adapt_input
from rayrml.planning.starting_weights import LOAD
from rayrml.planning.updates import Updates, choose_updates, follow_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import LoadReport
from rayrml.saving.name_matching import describe_initial, describe_misfit

SECTION = "neural_network.critic"
LAYERS = f"{SECTION}.layers"
_GENERATOR = "neural_network.layers"
_WEIGHTS = 6  # the first number of the seed of initial weights, after the run's own; see `data.noise`


@dataclasses.dataclass(frozen=True)
class CriticPlan:
    """The critic, and how it is trained.

    Attributes:
        layers: its Keras JSON.
        network: with initial or loaded weights, on the CPU.
        updates: rows of its optimizer and schedules; without an optimizer if nothing is trained.
        loaded: what was loaded into it, None if nothing was to be loaded.
        notes: sentences on what may be wrong with both networks.
    """

    layers: Any
    network: Network
    updates: Updates
    loaded: LoadReport | None = None
    notes: tuple[str, ...] = ()


class CriticPreparation:
    """Reads and builds a critic step by step; mistakes are added to the findings.

    Args:
        nn: the section `neural_network`.
        ray: the section `ray`.
        findings: gets the mistakes.
        kept: the critic of the checkpoint that is loaded, {} without one: its `layers` and its weights, `network`.
    """

    def __init__(self, nn: NeuralNetwork, ray: Ray, findings: Findings, kept: Mapping[str, Any]):
        self._nn = nn
        self._findings = findings
        self._kept = kept
        self._given = nn.critic.layers if nn.critic is not None else kept.get("layers")
        section = nn.optimizer if nn.critic is None or nn.critic.optimizer is None else nn.critic.optimizer
        own = nn.critic is not None and nn.critic.optimizer is not None
        self._updates = Updates()
        if nn.data.trains:
            # Mistakes in the generator's section are told for the generator.
            to = findings if own else Findings()
            self._updates = choose_updates(section, ray, to, f"{SECTION}.optimizer")
            optimizer = self._updates.optimizer
            if own and optimizer is not None:
                findings.mistakes += refuse_updates(optimizer, section or {}, f"{SECTION}.optimizer")
            if not own:
                options = self._updates.options.model_copy(update={"learning_rates": {}})
                self._updates = self._updates._replace(options=options)
        self.layers: Any = None  # Keras JSON
        self.network: Network | None = None
        self._graph: Graph | None = None
        self._notes: list[str] = []

    def read(self) -> None:
        """Read the critic's layers, and build it if these declare their input."""
        if self._given is None:
            return
        with self._findings.gathering(), self._placed():
            layers = self._given
            if is_named(layers):
                message = "a network by name tells classes apart. Expected the layers of a critic, or their file"
                raise ConfigError(Problem(LAYERS, message))
            layers = read_network_file(layers, LAYERS) if isinstance(layers, str) else layers
            self.layers = with_affine_batch_norm(layers) if self._nn.train_batch_norm == "affine" else layers
            self._graph = read_graph(self.layers, "layers" if isinstance(self._given, str) else LAYERS)
        if self._graph is not None and self._graph.declares_inputs:
            self._build(None)

    def compare_with(self, generator: Network | None) -> None:
        """Check what both networks take and give, as far as that is known without samples."""
        problems = [] if generator is None else find_misfits_of_generator(generator)
        problems += [] if self.network is None else _find_misfits_of_critic(self.network)
        self._findings.mistakes += problems
        if generator is not None and self.network is not None and not problems:
            made, takes = generator.output_shapes[0], self.network.input_shapes[0]
            if not fits(takes, made):
                message = f"takes samples {format_shape(takes)}, but the generator makes {format_shape(made)}"
                self._findings.add(LAYERS, f"{message}. Expected samples of one shape")

    def adapt_to(self, datasets: Datasets, generator: Network | None, reader: Reader | None) -> None:
        """Build the critic for these samples, which a reader reads, and check that both networks go with them."""
        if self._graph is not None and not self._graph.declares_inputs:
            self._build(datasets.shape)
            if self.network is not None:
                self._findings.mistakes += _find_misfits_of_critic(self.network)
        if len(datasets.shapes) > 1:
            shapes = " and ".join(map(format_shape, datasets.shapes))
            self._findings.add(DATA, f"samples have the shapes {shapes}, but a generator makes samples of one shape")
            return
        before = len(self._findings.mistakes)
        if self.network is not None and len(self.network.input_shapes) == 1:
            misfits = Findings()
            adapt_input(self.network, datasets, misfits)
            for problem in misfits.mistakes:
                self._findings.add(problem.where, problem.message.replace("the network", "the critic", 1))
        made = None if generator is None else generator.output_shapes[0]
        fitting = len(self._findings.mistakes) == before and not self._findings.concern(LAYERS)
        if made is not None and fitting and not fits(made, datasets.shape):
            message = f"makes samples {format_shape(made)}, but those to learn from are {format_shape(datasets.shape)}"
            self._findings.add(_GENERATOR, f"the generator {message}. Expected the same shape")
        for step in datasets.transforms.batched.steps:
            if isinstance(step.transform, PairTransform):
                self._findings.add(step.where, "mixes samples with each other, which a generator would learn to do")
        if generator is not None and reader is not None:
            self._compare_ranges(generator, datasets, reader)

    def _compare_ranges(self, generator: Network, datasets: Datasets, reader: Reader) -> None:
        found = compare_ranges(generator.graph, find_image_range(reader, datasets.transforms.batched))
        if isinstance(found, Problem):
            self._findings.mistakes.append(found)
        elif found is not None:
            self._notes.append(found)

    def plan(self) -> CriticPlan | None:
        """The critic with its weights, None if there is none, or a mistake in it."""
        if self.network is None:
            return None
        if not self._kept and not self._nn.data.trains:
            message = "checkpoints.load holds no critic" if self._nn.checkpoints.load else "nothing is loaded"
            self._findings.add(SECTION, f"has no weights: {message}. Expected no critic, or the checkpoint of a GAN")
        own = self._nn.model_copy(update={"unfreeze": None})
        updates = follow_network(self._updates, own, self.network, self._findings, section=f"{SECTION}.optimizer")
        loaded = None
        if self._kept:
            with self._findings.gathering():
                path = f"{self._nn.checkpoints.load}: critic"
                loaded = checkpoints.load_into(self.network, self._kept["network"], path, LOAD)
                initial = loaded.initial + loaded.initial_weights
                if not loaded.loaded:
                    self._findings.add(LOAD, describe_misfit(path, loaded.skipped, loaded.initial))
                elif initial and not self._nn.data.trains:
                    self._findings.add(LOAD, describe_initial(path, initial))
        if self._nn.checkpoints.load is not None and not self._kept:
            self._notes.append("checkpoints.load holds no critic, which begins with initial weights")
        return CriticPlan(self.layers, self.network, updates, loaded, tuple(self._notes))

    def _build(self, shape: Sequence[int] | None) -> None:
        if self._graph is None:
            return
        with self._findings.gathering(), self._placed():
            torch.manual_seed(mix_seed(self._nn.seed, _WEIGHTS))
            self.network = build(self._graph, shape)
            if self._nn.data.trains and self.network.num_trainable_parameters == 0:
                self._findings.add(LAYERS, "nothing to train: no layer of the critic has trainable weights")

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        """Give the problems of the critic's file their lines in it."""
        try:
            yield
        except ConfigError as error:
            if not isinstance(self._given, str):
                raise
            raise ConfigError(*with_lines_in_network(error.problems, self._given)) from None


def find_misfits_of_generator(network: Network) -> list[Problem]:
    """What keeps a network from generating samples: its input says how many random numbers it takes."""
    if len(network.input_shapes) != 1 or len(network.output_shapes) != 1:
        counts = f"{len(network.input_shapes)} inputs and {len(network.output_shapes)} outputs"
        return [Problem(_GENERATOR, f"the generator has {counts}. Expected one of each")]
    if None in network.input_shapes[0]:
        shape = format_shape(network.input_shapes[0])
        message = f"the generator's input {shape} does not say how many random numbers it takes"
        return [Problem(_GENERATOR, f"{message}. Expected numbers alone, such as (64,)")]
    if None in network.output_shapes[0]:
        shape = format_shape(network.output_shapes[0])
        return [Problem(_GENERATOR, f"the generator makes samples of open size, {shape}. Expected one size")]
    return []


def _find_misfits_of_critic(network: Network) -> list[Problem]:
    if len(network.input_shapes) != 1 or len(network.output_shapes) != 1:
        counts = f"{len(network.input_shapes)} inputs and {len(network.output_shapes)} outputs"
        return [Problem(LAYERS, f"the critic has {counts}. Expected one of each")]
    output = network.output_shapes[0]
    if tuple(output) != (1,):
        cure = "End it with a Dense of 1 unit" if len(output) == 1 else "End it with Flatten and a Dense of 1 unit"
        message = f"the critic gives {format_shape(output)} for a sample"
        return [Problem(LAYERS, f"{message}. Expected one number, (1,). {cure}")]
    last = [activation for _, activation in find_activations_at_end(network.graph)]
    ending = find_ending(network.graph)
    last += [ending] if ending not in (None, "linear") else []  # a layer that has one without naming it
    if last:
        message = f"the critic ends with {last[0]}, but its scores must not be limited or bent"
        return [Problem(LAYERS, f"{message}. Expected no activation after its last layer")]
    return []
