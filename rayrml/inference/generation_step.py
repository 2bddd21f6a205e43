"""Evaluation of a generator: samples made of random numbers, and how far they are from real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from rayrml.config.figures import TEST_WASSERSTEIN
from rayrml.data.image_range import find_image_range
from rayrml.data.noise import batches_of_samples, inputs_of_samples
from rayrml.data.shards import Batch
from rayrml.data.sources import Source
from rayrml.data.transforms import Transforms
from rayrml.endings import UNIT, Range
from rayrml.inference import arithmetic
from rayrml.inference.each_sample import Prepared
from rayrml.inference.judge import Judge
from rayrml.inference.sample_comparison import SampleComparison
from rayrml.metrics import Evaluation, Metric
from rayrml.networks.ending import find_range
from rayrml.networks.layers.layer import smallest
from rayrml.networks.network import Network
from rayrml.tensors import to_input
from rayrml.workers import Workers


@dataclasses.dataclass(frozen=True)
class Generation:
    """Which samples are generated.

    Attributes:
        num_samples: of all workers.
        batch_size: the most samples in a batch.
        seed: the run's; a sample follows from it and from its number.
    """

    num_samples: int
    batch_size: int
    seed: int


class GenerationStep:
    """The distance of generated samples from real ones, added up over a pass and over workers; see `Evaluator`.

    Args:
        network: the generator, in evaluation mode.
        metric: the figure that is reported first, None if there are no real samples.
        generation: which samples are generated.
        values: black and white in samples.
        critic: gives samples scores, in evaluation mode; None without one.
        judge: a classifier by which samples are compared, too; None without one.
        workers: the workers that share samples.
        autocast: see `arithmetic.autocast`.
    """

    def __init__(
        self,
        network: Network,
        metric: Metric | None,
        generation: Generation,
        *,
        values: Range = UNIT,
        critic: torch.nn.Module | None = None,
        judge: Judge | None = None,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        autocast: torch.dtype | None = None,
    ):
        self.network = network
        self.metric = metric
        self.workers = workers
        self.dtype = autocast
        self._generation = generation
        self._device = next(network.parameters()).device
        self._critic = None if critic is None else critic.to(self._device).eval()
        self._shape = smallest(network.input_shapes[0])
        self._comparison: SampleComparison | None = None
        if metric is not None:
            shape = smallest(network.output_shapes[0])
            self._comparison = SampleComparison(shape, values=values, judge=judge, device=self._device)
        self._scores = np.zeros((2, 2))  # of real and of generated samples: the sum and the number

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, target: Any = None, original: Batch | None = None) -> torch.Tensor:
        """The samples (n, C, *spatial) that are made of inputs (n, *shape)."""
        with arithmetic.autocast(batch, self.dtype):
            output = self.network(to_input(batch))
        return output.float() if output.dtype != torch.float64 else output

    def run(self, batches: Iterable[Prepared]) -> Iterator[tuple[np.ndarray, Any]]:
        """Look at the real samples in batches, which have no outputs, and then generate as many as are wanted."""
        for images, _, batch in batches:
            self._look(0, batch.positions, images)
            yield batch.positions[:0], None
        how = self._generation
        own = batches_of_samples(how.num_samples, how.batch_size, self.workers)
        most = -(-len(batches_of_samples(how.num_samples, how.batch_size, Workers())) // self.workers.size)
        for numbers in [*own, *[np.arange(0)] * (most - len(own))]:
            if not len(numbers):
                yield numbers, None
                continue
            inputs = torch.from_numpy(inputs_of_samples(how.seed, numbers, self._shape)).to(self._device)
            counts = numbers < how.num_samples
            samples = self(inputs)[: int(counts.sum())]
            self._look(1, numbers[counts], samples)
            yield numbers[counts], samples

    @torch.inference_mode()
    def _look(self, kind: int, numbers: np.ndarray, samples: torch.Tensor) -> None:
        """Add samples that are real (0) or generated (1) to the totals."""
        if self._comparison is None or not len(numbers):
            return
        self._comparison.add("compared" if kind else "real", numbers, samples)
        if self._critic is not None:
            with arithmetic.autocast(samples, self.dtype):
                scores = self._critic(to_input(samples))
            self._scores[kind] += scores.double().sum().item(), len(samples)

    def written(self, outputs: torch.Tensor) -> np.ndarray:
        """The samples as prediction files take them."""
        return outputs.cpu().numpy()

    def result(self, device: torch.device) -> Evaluation:
        """What was found in all samples of all workers; every worker must call it."""
        if self._comparison is None or self.metric is None:
            return Evaluation(None)
        figures, _ = self._comparison.figures(self.workers)
        scores = self.workers.sum(torch.from_numpy(self._scores.copy()).to(device)).cpu().numpy()
        if self._critic is not None and scores[:, 1].all():
            real, generated = scores[:, 0] / scores[:, 1]
            figures[TEST_WASSERSTEIN] = float(real - generated)
        value = figures.pop(self.metric.name, None)
        return Evaluation(None, self.metric.name, value, others=figures)


def find_sample_range(source: Source, transforms: Transforms, network: Network) -> Range:
    """Black and white in samples: of real images, or else according to the generator's last layers."""
    known = find_image_range(source.input.decoding.reader.build(), transforms.batched)
    return known or find_range(network.graph) or UNIT


@torch.inference_mode()
def generate_first(network: Network, seed: int, count: int) -> np.ndarray:
    """The first samples (count, C, *spatial) of a generator, in evaluation mode, always of the same random numbers."""
    device = next(network.parameters()).device
    shape = smallest(network.input_shapes[0])
    inputs = torch.from_numpy(inputs_of_samples(seed, np.arange(count), shape))
    return network.eval()(to_input(inputs.to(device))).float().cpu().numpy()
