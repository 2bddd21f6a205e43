"""What the workers of a run are given, and where they put predictions."""

from __future__ import annotations

import dataclasses
from typing import Any

import ray

from rayrml import storage
from rayrml.config.sections import Data, Stopping
from rayrml.config.tables import Choice
from rayrml.data.pipeline import Source
from rayrml.data.transforms import BatchTransforms
from rayrml.inference.prediction_files import Destination, PredictionSink, RemotePredictions
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.network import Network
from rayrml.training.gradients import Compression


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to know; the same for every worker.

    Attributes:
        network: with its initial weights, on the CPU.
        layers: the network's Keras JSON, for checkpoints.
        loss: row of the losses.
        metric: row of the metrics that evaluation reports, None for the loss's own.
        optimizer: row of the optimizers, None for evaluation alone.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        training: training samples, None for evaluation alone.
        test: samples to evaluate on, None for training alone.
        test_targets: whether test samples have targets, so that there is something to compare with.
        transforms: what is done to each batch of images.
        classes: class names in the order of the network's outputs.
        num_epochs: passes over the training samples.
        batch_size: samples of a training batch, over all workers.
        test_batch_size: samples of an evaluation batch, over all workers.
        preload: keep the decoded samples in memory.
        seed: of the order of samples and of dropout.
        precision: `float32`, `bf16` or `auto`.
        compile: compile the network.
        gradient_clip: largest norm of the gradient.
        gradient_compression: `none` or `bf16`, in which workers exchange gradients.
        stopping: when the run ends early, None for never.
        debug: file for the network's graph, None for none.
        debug_interval: epochs between graphs with statistics, None for none.
        save: folder for checkpoints, None for none.
        interval: epochs between checkpoints.
        state_path: file in which the last finished epoch is kept, for when workers are lost or the run goes on later.
        resume_from: files that the run goes on from, the first one that will do; () to begin anew.
        data: the section of the configuration that says where predictions go.
        run_id: tells this run's files from those of others.
        decode_cpus: logical CPUs of a decoding task.
    """

    network: Network
    layers: Any
    loss: Choice
    metric: str | None
    optimizer: Choice | None
    schedule: ScheduleChoice | None
    training: Source | None
    test: Source | None
    test_targets: bool
    transforms: BatchTransforms
    classes: tuple[str, ...]
    num_epochs: int
    batch_size: int
    test_batch_size: int
    preload: bool
    seed: int
    precision: str
    compile: bool
    gradient_clip: float | None
    gradient_compression: Compression
    stopping: Stopping | None
    debug: str | None
    debug_interval: int | None
    save: str | None
    interval: int
    state_path: str | None
    resume_from: tuple[str, ...]
    data: Data
    run_id: str
    decode_cpus: float

    @property
    def predicts(self) -> bool:
        """Whether predictions for the test samples are written."""
        return bool(self.data.test_output_path or self.data.hdf5_outfile)

    def destination(self, epoch: int) -> Destination:
        """Where the predictions of an epoch's evaluation go."""
        if self.test is None:
            raise RuntimeError("there are no test samples to predict")
        return destination(self.test, self.data, epoch, self.classes)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """How workers open prediction files: each for itself alone, or all together through the writer's actor."""

    writer: Any = None

    def begin(self, job: Job, epoch: int) -> None:
        """Open the epoch's files for all workers; called by one of them."""
        if self.writer is not None:
            ray.get(self.writer.begin.remote(job.destination(epoch)))

    def sink(self, job: Job, epoch: int) -> PredictionSink:
        """Where this worker puts its predictions of the epoch."""
        if self.writer is not None:
            return RemotePredictions(self.writer)
        return job.destination(epoch).open()

    def finish(self) -> None:
        """Close the files that all workers wrote to; called by one of them when all are done."""
        if self.writer is not None:
            ray.get(self.writer.finish.remote())


def destination(source: Source, data: Data, epoch: int, classes: tuple[str, ...]) -> Destination:
    """Where the data section wants the predictions for the samples of `source` to be after an epoch."""
    folder = data.test_output_path
    return Destination(
        names=source.samples.names,
        path=None if folder is None else storage.join(folder, f"output_{epoch}.h5"),
        assembly_path=data.hdf5_outfile,
        precision=data.hdf5_precision,
        slices=source.samples.slices,
        classes=classes,
        partial=data.skips,
    )
