"""Training loops on samples in memory: rayrml's own, one written by hand, and the networks of both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import rayrml
from rayrml.config.sections import NeuralNetwork
from rayrml.data.places import deal_places
from rayrml.data.shards import ResidentShard
from rayrml.data.sources import Source
from rayrml.inference.outputs import Outputs
from rayrml.memory import keep_freed_memory
from rayrml.planning.plan import Plan
from rayrml.reporting.console import Console
from rayrml.reporting.figure_logs import FigureLogs
from rayrml.reporting.messages import Broadcast, Emit, Message
from rayrml.reporting.progress_lines import ProgressLines
from rayrml.reporting.run_state import RunState
from rayrml.runs.training_run import make_job
from rayrml.training.checkpoint_manager import Progress
from rayrml.training.epoch_loop import Worker
from rayrml.training.feed import Feed, Part
from rayrml.training.feeding import Feeder
from rayrml.training.job import Job
from rayrml.training.sample_order import TRAINING
from rayrml.training.step_reports import Reporter
from rayrml.workers import Workers


def planned(config: dict[str, Any]) -> tuple[Plan, Job]:
    """What a run prepares before it needs Ray."""
    plan = rayrml.check(config)
    return plan, make_job(plan, state_folder=None)


class RayrmlLoop:
    """rayrml's epochs with their log file; each of several workers has its share of the samples.

    Samples are `data` in memory, or what Ray reads of the job's files.
    """

    def __init__(
        self, job: Job, data: tuple[np.ndarray, np.ndarray] | None, outfile: Path | None, workers: Workers | None = None
    ):
        keep_freed_memory()  # as each worker does
        workers = workers or Workers()
        training, config = job.datasets.training, job.config
        if training is None:
            raise SystemExit("the job has no training samples")
        state = RunState(training.count_batches(config.data.batch_size))
        receivers = [ProgressLines(Console(quiet=True), state, 10**6).receive, state.receive]
        if outfile is not None:
            receivers.append(FigureLogs(str(outfile), append=False).receive)
        cpu = torch.device("cpu")
        self.worker = Worker(job, workers, cpu, driver=_Driver(Broadcast(*receivers)), outputs=Outputs())
        if data is None:
            self.feed = Feeder(job, workers, cpu, self.worker.emit).feed(training, TRAINING)
        else:
            self.feed = _feed(training, data, config, workers)
        worker = self.worker
        self.step = worker.training_step(worker.trainee)
        self.reporter = Reporter(worker.emit, worker.loss.term_names)
        self.epoch = 0
        self.loss = float("nan")

    def __call__(self) -> float:
        """Train an epoch; its seconds."""
        self.epoch += 1
        started = time.perf_counter()
        self.worker.train(self.step, self.feed, Progress(self.epoch), self.reporter)
        self.loss = self.reporter.finish_epoch()["train_loss"]
        return time.perf_counter() - started


def _feed(training: Source, data: tuple[np.ndarray, np.ndarray], config: NeuralNetwork, workers: Workers) -> Feed:
    """A worker's share of images (N, rows, columns) and labels (N,) that are in memory."""
    images, labels = data
    if len(training.samples) != len(images):
        raise SystemExit(f"the job has {len(training.samples)} samples, but {len(images)} are given")
    places = deal_places(len(images), config.data.batch_size)
    mine = np.flatnonzero(workers.keeps(places))
    pixels, own = torch.from_numpy(images[mine])[:, None], torch.from_numpy(labels[mine])
    shard = ResidentShard(pixels, own, mine, places=places[mine], seed=(config.seed, 0))
    used = np.ones(len(images), bool)
    return Feed(training, (Part(training, shard, torch.device("cpu"), workers, used, kept=True),))


class _Driver:
    """Who takes what the loop has to say, and never wants it to stop."""

    def __init__(self, emit: Emit):
        self._emit = emit

    def emit(self, message: Message) -> None:
        self._emit(message)

    def asked_to_stop(self) -> bool:
        return False

    def unwritten(self) -> tuple[()]:
        return ()


class HandWrittenLoop:
    """What a user would write: a tensor in memory, a permutation an epoch, and the five lines of a step."""

    def __init__(self, network: nn.Module, data: tuple[np.ndarray, np.ndarray], batch_size: int = 128):
        self.network = network
        self.images = torch.from_numpy(data[0])[:, None]
        self.labels = torch.from_numpy(data[1])
        self.batch_size = batch_size
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        self.loss = float("nan")

    def __call__(self) -> float:
        """Train an epoch; its seconds."""
        started = time.perf_counter()
        self.network.train()
        losses = []
        for picked in torch.randperm(len(self.images)).split(self.batch_size):
            images = self.images.index_select(0, picked).float().div_(255)
            labels = self.labels.index_select(0, picked)
            self.optimizer.zero_grad()
            loss = functional.nll_loss(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.loss = sum(losses) / len(losses)
        return time.perf_counter() - started


def digits_network(like: nn.Module | None = None) -> nn.Sequential:
    """The network of `examples/mnist` in plain torch, with the weights of rayrml's if one is given."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(1600, 10),
        nn.LogSoftmax(1),
    )
    if like is not None:
        weights = {name: value.clone().contiguous() for name, value in like.state_dict().items()}
        # Keras has the channels of a position together where torch has the positions of a channel.
        weights["dense.weight"] = weights["dense.weight"].reshape(10, 5, 5, 64).permute(0, 3, 1, 2).reshape(10, 1600)
        network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network
