"""What a training of a generator shows beside its figures: what real images come to, and the same samples again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from rayrml import storage
from rayrml.config.figures import spell
from rayrml.endings import Range
from rayrml.inference.generation_step import find_sample_range, generate_first
from rayrml.inference.sample_comparison import SampleComparison
from rayrml.inference.sample_grid import NUM_SAMPLES, can_draw, write_grid
from rayrml.networks.network import Network
from rayrml.reporting.file_names import SAMPLES, sample_picture
from rayrml.reporting.messages import Emit, Phase, Saved
from rayrml.training.job import Job
from rayrml.training.watch import Read, Watch
from rayrml.workers import Workers


class GenerationWatch(Watch):
    """Compares real images with one another once, and draws the same samples after some epochs."""

    def __init__(self, job: Job, network: Network, workers: Workers, emit: Emit):
        super().__init__(job, network, workers, emit)
        source = job.datasets.training
        self._device = next(network.parameters()).device
        self._range: Range | None = None
        if source is not None:
            self._range = find_sample_range(source, job.datasets.transforms, network)

    def begin(self, read: Read) -> None:
        """Say what real images come to; all workers must call it."""
        job = self.job
        training, test = job.datasets.training, job.datasets.test
        if training is None or test is None or self._range is None:
            return
        count = len(test.samples)
        comparison = SampleComparison(test.shape, values=self._range, judge=job.judge, device=self._device)
        for images, _, batch in read(test, np.arange(count)):
            comparison.add("real", batch.positions, images)
        some = training.samples.spread(count)  # over all classes, if folders tell them apart
        for images, _, batch in read(training, some):
            comparison.add("compared", batch.positions, images)
        figures, _ = comparison.figures(self.workers)
        if figures:
            shown = ", ".join(f"{spell(name)} {value:.4g}" for name, value in figures.items())
            what = f"{len(some)} training images come to {shown} when compared with the test images"
            self.emit(Phase(f"{what}: no generator can be expected to be better"))

    def after_epoch(self, epoch: int, evaluated: Callable[[], AbstractContextManager[None]]) -> None:
        """Draw the samples if the epoch is the first, or one whose checkpoint stays."""
        section = self.job.config.checkpoints
        due = epoch == 1 or (section.interval is not None and epoch % section.interval == 0)
        shape = self.network.output_shapes[0]
        if self.workers.rank or not due or section.save is None or self._range is None or not can_draw(shape):
            return
        path = storage.join(section.save, SAMPLES, sample_picture(epoch))
        with evaluated():
            samples = generate_first(self.network, self.job.config.seed, NUM_SAMPLES)
        write_grid(path, samples, self._range)
        self.emit(Saved("samples", path))
