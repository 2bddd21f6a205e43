"""What the workers of a run are given."""

from __future__ import annotations

import dataclasses
from typing import Any

from rayrml.config.sections import NeuralNetwork
from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.lr_schedulers import ScheduleChoice
from rayrml.networks.network import Network
from rayrml.training.gradients import Compression


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to know; the same for every worker.

    Attributes:
        config: the section of the configuration.
        network: with its initial weights, on the CPU.
        layers: the network's Keras JSON, for checkpoints.
        loss: row of the losses.
        optimizer: row of the optimizers, None for evaluation alone.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        datasets: the samples.
        compression: in which form workers exchange gradients.
        debug_path: file for the network's graph, None for none.
        state_path: file in which the last finished epoch is kept, for when workers are lost or the run goes on later;
            None without training, or without a folder for it.
        resume_from: files that the run goes on from, the first one that will do; () to begin anew.
        run_id: tells this run's files from those of others.
        decode_cpus: logical CPUs of a decoding task.
    """

    config: NeuralNetwork
    network: Network
    layers: Any
    loss: Choice
    optimizer: Choice | None
    schedule: ScheduleChoice | None
    datasets: Datasets
    compression: Compression
    debug_path: str | None
    state_path: str | None
    resume_from: tuple[str, ...]
    run_id: str
    decode_cpus: float

    @property
    def predicts(self) -> bool:
        """Whether predictions for the test samples are written."""
        return bool(self.config.data.test_output_path or self.config.data.hdf5_outfile)
