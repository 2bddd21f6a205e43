"""The job that a run's workers receive."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rayrml.config.optimization import OptimizerOptions
from rayrml.config.sections import NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.judge import Judge
from rayrml.inference.pictures import Drawing
from rayrml.inference.sample_grid import SampleDrawing
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.network import Network
from rayrml.training.gradients import Compression
from rayrml.training.rate_range import RateRange


@dataclasses.dataclass(frozen=True)
class CriticJob:
    """What differs from a generator's training in that of its critic; fields are those of `Job`.

    Attributes:
        layers: the critic's Keras JSON, for checkpoints.
        network: the critic with its initial weights, on the CPU.
        optimizer: row of the optimizers, None if the run only evaluates.
        options: the keys that all optimizers have.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        rates: factors of the learning rate by the names of layers, 1 for all others.
    """

    layers: Any
    network: Network
    optimizer: Choice | None
    options: OptimizerOptions
    schedule: ScheduleChoice | None
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that a worker needs to know; the same for every worker.

    Attributes:
        config: the `neural_network` section of the configuration.
        network: with its initial weights, on the CPU.
        layers: the network's Keras JSON, for checkpoints.
        loss: row of the losses.
        metric: row of the metrics that evaluation reports next to the loss, None for none.
        optimizer: row of the optimizers, None if the run only evaluates.
        options: the keys that all optimizers have.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        rates: factors of the learning rate by the names of layers, 1 for all others.
        unfreezing: the first epoch in which layers are trained that are frozen at first, by their names.
        datasets: the samples.
        compression: how workers compress the gradients that they exchange.
        sharding: what workers divide among themselves: `none`, `zero1` for the optimizer's state, `fsdp` for all.
        global_batch_norm: whether batch normalization is by the batch of all workers.
        debug_path: file for the network's graph, None for no file.
        state_path: file that holds the state after the last complete epoch, for lost workers and for resuming later;
            None without training, or without a folder for it.
        resume_from: files to resume from, of which the first suitable one is used; () to start from the beginning.
        run_id: distinguishes this run's files from other runs'.
        decode_cpus: logical CPUs of a decoding task.
        step_bytes: memory that a training step is expected to take of a GPU, besides the weights and the samples; 0 if
            there is no GPU, or if no samples stay in memory.
        drawing: how outputs become pictures, None if they do not.
        picture_choice: what predictions with the network set `test_output_images` to, None for nothing.
        critic: the critic of a generator, and what is needed to train it; None without one.
        judge: the classifier by which generated samples are compared with real ones, None without one.
        rate_range: the learning rates that are tried instead of a training, None for a training or an evaluation.
    """

    config: NeuralNetwork
    network: Network
    layers: Any
    loss: Choice
    metric: str | None
    optimizer: Choice | None
    options: OptimizerOptions
    schedule: ScheduleChoice | None
    rates: Mapping[str, float]
    unfreezing: Mapping[str, int]
    datasets: Datasets
    compression: Compression
    sharding: str
    global_batch_norm: bool
    debug_path: str | None
    state_path: str | None
    resume_from: tuple[str, ...]
    run_id: str
    decode_cpus: float
    step_bytes: int = 0
    drawing: Drawing | BoxDrawing | SampleDrawing | None = None
    picture_choice: str | None = None
    critic: CriticJob | None = None
    judge: Judge | None = None
    rate_range: RateRange | None = None

    @property
    def predicts(self) -> bool:
        """Whether predictions of the test samples are written."""
        return bool(self.config.data.test_output_path or self.config.data.hdf5_outfile)
