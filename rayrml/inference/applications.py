"""What differs between applications when a network computes outputs: a row for each value of the key `app`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from rayrml.config.sections import NeuralNetwork
from rayrml.data.noise import name_samples
from rayrml.data.shards import Batch
from rayrml.data.sources import Source
from rayrml.data.transforms import Transforms
from rayrml.inference.detection_files import COLUMNS
from rayrml.inference.detection_step import DetectionStep, make_finder
from rayrml.inference.each_sample import Prepared
from rayrml.inference.evaluation import EvaluationStep, metric_of
from rayrml.inference.flips import flips_of
from rayrml.inference.generation_step import Generation, GenerationStep, find_sample_range
from rayrml.inference.judge import Judge
from rayrml.losses import Loss
from rayrml.metrics import Evaluation, Metric
from rayrml.metrics.metric import LIKELY
from rayrml.networks.network import Network
from rayrml.workers import Workers


class Evaluator(Protocol):
    """Computes outputs, and adds up what is found in batches, over a pass and over workers."""

    metric: Metric | None

    def __call__(self, batch: torch.Tensor, target: Any, original: Batch) -> Any:
        """The outputs for a batch, whose figures are added to the totals.

        Args:
            batch: inputs (n, C, *spatial) as the network takes them.
            target: as the loss takes them, None without any.
            original: the batch before transforms.
        """
        ...

    def run(self, batches: Iterable[Prepared]) -> Iterator[tuple[np.ndarray, Any]]:
        """The outputs of a pass over batches, each time with the numbers (n,) of the samples that they are for.

        They are yielded equally often in all workers, some of which may have no samples at a time.
        """
        ...

    def written(self, outputs: Any) -> Any:
        """The outputs as prediction files take them: an array (n, ...), or one for each sample."""
        ...

    def result(self, device: torch.device) -> Evaluation:
        """What was found in all samples of all workers; every worker must call it."""
        ...


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass over samples, whose outputs are compared with targets if there are any.

    Attributes:
        config: the section `neural_network`.
        network: computes the outputs.
        loss: compares them with targets, and may prescribe some of their values; None without one.
        source: the samples.
        transforms: what is done to them.
        autocast: see `arithmetic.autocast`.
        workers: the workers that share the samples.
        compares: whether there are targets.
        metric: the metric that is wanted, None for that of the loss.
        pixels: whether masks have figures of each class, too.
        critic: gives generated and real samples scores, None without one.
        judge: a classifier by which these are compared, None without one.
    """

    config: NeuralNetwork
    network: Network
    loss: Loss | None
    source: Source
    transforms: Transforms
    autocast: torch.dtype | None
    workers: Workers = dataclasses.field(default_factory=Workers)
    compares: bool = False
    metric: str | None = None
    pixels: bool = False
    critic: Network | None = None
    judge: Judge | None = None

    @property
    def reported(self) -> Metric | None:
        """The metric that is reported, None for none."""
        return metric_of(self.loss, self.metric) if self.compares and self.loss is not None else None


def _compare(of: Pass) -> Evaluator:
    """Outputs are compared with targets of the same shape, or with classes."""
    return EvaluationStep(
        of.network,
        of.loss,
        of.reported,
        workers=of.workers,
        autocast=of.autocast,
        pixels=of.pixels,
        columns=of.source.samples.columns,
        threshold=of.config.data.threshold or LIKELY,
        flips=flips_of(of.config.data.test_transforms, of.loss, of.network.graph),
    )


def _find(of: Pass) -> Evaluator:
    """Objects are found, and compared with true boxes."""
    if of.loss is None:
        raise RuntimeError("the loss knows what outputs stand for")
    return DetectionStep(
        of.network,
        of.loss,
        of.reported,
        finder=make_finder(of.loss, of.transforms, of.config.detection, compares=of.compares),
        samples=of.source.samples,
        workers=of.workers,
        autocast=of.autocast,
    )


def _generate(of: Pass) -> Evaluator:
    """Samples are made of random numbers, and compared with real ones."""
    return GenerationStep(
        of.network,
        of.reported,
        Generation(_count_generated(of.config, of.source), of.config.data.test_batch_size, of.config.seed),
        values=find_sample_range(of.source, of.transforms, of.network),
        critic=of.critic,
        judge=of.judge,
        workers=of.workers,
        autocast=of.autocast,
    )


def _count_generated(config: NeuralNetwork, source: Source) -> int:
    """How many samples a pass generates: as many as it is compared with, unless the configuration says."""
    return config.data.num_test_examples or len(source.samples)


def _name_generated(config: NeuralNetwork, source: Source) -> Sequence[str]:
    return name_samples(_count_generated(config, source))


@dataclasses.dataclass(frozen=True)
class Application:
    """What an application does with samples.

    Attributes:
        evaluator: makes what computes and compares outputs.
        columns: what the columns of a sample's dataset are in prediction files, () if outputs are no tables.
        generates: whether outputs are samples that belong to no input.
        names: what the datasets of outputs are called in prediction files.
    """

    evaluator: Callable[[Pass], Evaluator]
    columns: tuple[str, ...] = ()
    generates: bool = False
    names: Callable[[NeuralNetwork, Source], Sequence[str]] = lambda config, source: source.samples.names


APPLICATIONS = {
    "dnn": Application(_compare),
    "pde": Application(_compare),
    "obj": Application(_find, COLUMNS),
    "gan": Application(_generate, generates=True, names=_name_generated),
}


def application_of(config: NeuralNetwork) -> Application:
    """The row of a configuration."""
    return APPLICATIONS[config.app or "dnn"]
