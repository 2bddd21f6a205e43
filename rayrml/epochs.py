"""The epoch loop of one worker: its shards, its steps, its evaluation and its checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from rayrml import checkpoints
from rayrml.checkpoints import Checkpoint
from rayrml.data import pipeline
from rayrml.data.pipeline import Source
from rayrml.data.shards import Batch, ResidentShard, Shard, StreamedShard, mix_seed
from rayrml.errors import DataError, DivergenceError, Problem
from rayrml.lookup import Choice
from rayrml.metrics import METRICS
from rayrml.network import Network
from rayrml.predictions import PredictionFile, PredictionSink, RemotePredictions
from rayrml.run_log import BatchesTrained, BatchRow, Emit, Evaluated, Message, Phase, Saved, Started
from rayrml.steps import EvaluationStep, Trained, TrainingStep, autocast_dtype
from rayrml.workers import Workers, global_batch_sizes

_SECONDS_BETWEEN_REPORTS = 0.25
_TRAINING, _TEST = 0, 1  # kinds of random draws that must not coincide


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to know; the same for every worker.

    Attributes:
        network: with its initial weights, on the CPU.
        layers: the network's Keras JSON, for checkpoints.
        loss: row of the losses.
        optimizer: row of the optimizers, None for evaluation alone.
        training: training samples, None for evaluation alone.
        test: samples to evaluate on, None for training alone.
        classes: class names in the order of the network's outputs.
        num_epochs: passes over the training samples.
        batch_size: samples of a training batch, over all workers.
        test_batch_size: samples of an evaluation batch, over all workers.
        preload: keep the decoded samples in memory.
        seed: of the order of samples and of dropout.
        precision: `float32`, `bf16` or `auto`.
        compile: compile the network.
        gradient_clip: largest norm of the gradient.
        save: folder for checkpoints, None for none.
        interval: epochs between checkpoints.
        state_path: file in which several workers find the last finished epoch again after a failure.
        output: folder for predictions, None for none.
        run_id: tells this run's files from those of others.
        decode_cpus: logical CPUs of a decoding task.
    """

    network: Network
    layers: Any
    loss: Choice
    optimizer: Choice | None
    training: Source | None
    test: Source | None
    classes: tuple[str, ...]
    num_epochs: int
    batch_size: int
    test_batch_size: int
    preload: bool
    seed: int
    precision: str
    compile: bool
    gradient_clip: float | None
    save: str | None
    interval: int
    state_path: str | None
    output: str | None
    run_id: str
    decode_cpus: float


@dataclasses.dataclass(frozen=True)
class Outputs:
    """How workers open prediction files: each for itself alone, or all together through the writer's actor."""

    writer: Any = None

    def begin(self, job: Job, epoch: int) -> None:
        """Open the epoch's file for all workers; called by one of them."""
        if self.writer is not None:
            ray.get(self.writer.begin.remote(output_path(job, epoch), job.classes))

    def sink(self, job: Job, epoch: int) -> PredictionSink:
        """Where this worker puts its predictions of the epoch."""
        if self.writer is not None:
            return RemotePredictions(self.writer)
        return PredictionFile(output_path(job, epoch), job.classes)

    def finish(self) -> None:
        """Close the file that all workers wrote to; called by one of them when all are done."""
        if self.writer is not None:
            ray.get(self.writer.finish.remote())


def output_path(job: Job, epoch: int) -> str:
    """The prediction file of an epoch."""
    return f"{job.output}/output_{epoch}.h5"


@dataclasses.dataclass(frozen=True)
class _Feed:
    """Samples in use: where they come from, and what gives this worker its batches of them."""

    source: Source
    shard: Shard


class Worker:
    """One worker's part of a run; every worker runs the same code on its share of the samples."""

    def __init__(self, job: Job, workers: Workers, device: torch.device, *, emit: Emit, outputs: Outputs):
        self.job = job
        self.workers = workers
        self.device = device
        self.emit: Emit = emit if workers.rank == 0 else _say_nothing
        self.outputs = outputs
        self.network = job.network.to(device)
        if job.compile:
            self.network.compile()
        self.autocast = autocast_dtype(job.precision, device)
        self.loss = job.loss.build()
        self.first_epoch = 1
        self.optimizer = None if job.optimizer is None else self._optimizer(job.optimizer)
        if self.optimizer is not None and job.state_path and Path(job.state_path).exists():
            self._resume(job.state_path)

    def run(self) -> None:
        """Train and evaluate all epochs, or evaluate once if there is nothing to train on."""
        job = self.job
        training = None if job.training is None else _Feed(job.training, self._shard(job.training, _TRAINING))
        test = None if job.test is None else _Feed(job.test, self._shard(job.test, _TEST))
        if training is None or self.optimizer is None:
            if test is not None:
                self._evaluate(test, 1)
            return
        step = TrainingStep(
            self.network,
            self.loss,
            self.optimizer,
            workers=self.workers,
            autocast=self.autocast,
            gradient_clip=job.gradient_clip,
        )
        self.emit(Started(self.first_epoch))
        reporter = _Reporter(self.emit)
        for epoch in range(self.first_epoch, job.num_epochs + 1):
            self._train(step, training, epoch, reporter)
            if self.workers.size > 1:
                self._average_statistics()
            if test is not None:
                self._evaluate(test, epoch)
            # Last, so that an epoch that is on disk has been announced in full.
            self._save(epoch)

    def _train(self, step: TrainingStep, feed: _Feed, epoch: int, reporter: _Reporter) -> None:
        # Random numbers follow from the epoch alone, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(mix_seed(self.job.seed, epoch, self.workers.rank))
        self.network.train()
        sizes = global_batch_sizes(len(feed.source.samples), self.job.batch_size)
        mine = self.workers.batch_sizes(len(feed.source.samples), self.job.batch_size)
        before = time.perf_counter()
        for number, (size, batch) in enumerate(
            zip(sizes, self._moved(feed.shard.batches(mine, epoch)), strict=True), 1
        ):
            target = batch.input if batch.target is None else batch.target
            waited = time.perf_counter() - before
            trained = step(batch.input, target, size)
            reporter.add(epoch, number, trained, waited)
            before = time.perf_counter()
        reporter.flush()

    def _evaluate(self, feed: _Feed, epoch: int) -> None:
        started = time.perf_counter()
        self.network.eval()
        metric = METRICS[self.loss.metric]()
        step = EvaluationStep(self.network, self.loss, metric, workers=self.workers, autocast=self.autocast)
        samples = feed.source.samples
        sizes = self.workers.batch_sizes(len(samples), self.job.test_batch_size)
        sink = self._begin_output(epoch)
        for batch in self._moved(feed.shard.batches(sizes, None)):
            if not len(batch.positions):
                continue
            output = step(batch.input, batch.target)
            if sink is not None:
                sink.write([samples.name(i) for i in batch.positions], output.cpu().numpy())
        if sink is not None:
            sink.close()
        loss, value = step.result(self.device)  # waits for all workers, so that all have written
        if sink is not None and self.workers.rank == 0:
            self.outputs.finish()
        self.emit(Evaluated(epoch, len(sizes), loss, metric.name, value, time.perf_counter() - started))
        if sink is not None:
            self.emit(Saved("predictions", output_path(self.job, epoch)))

    def _begin_output(self, epoch: int) -> PredictionSink | None:
        if self.job.output is None:
            return None
        if self.workers.rank == 0:
            self.outputs.begin(self.job, epoch)
        self.workers.gather(None)  # nobody writes before the file is open
        return self.outputs.sink(self.job, epoch)

    def _shard(self, source: Source, kind: int) -> Shard:
        """This worker's samples of `source`, all read now or read again in each epoch."""
        seed = (self.job.seed, kind)
        if not self.job.preload:
            batch_size = self.job.batch_size if kind == _TRAINING else self.job.test_batch_size
            smallest = max(self.workers.share(batch_size), 1)

            def read(indices: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
                return self._read(source, indices, smallest)

            return StreamedShard(read, len(source.samples), workers=self.workers, seed=seed)
        self.emit(Phase(f"Reading {len(source.samples)} {source.name} samples into memory"))
        order = np.arange(len(source.samples))
        if kind == _TRAINING:
            # Files are listed by class: without this a worker would hold some classes only.
            np.random.default_rng(mix_seed(*seed)).shuffle(order)
        mine = order[self.workers.rank :: self.workers.size]
        inputs, *targets = self._resident(source, mine)
        return ResidentShard(inputs, targets[0] if targets else None, mine, seed=(*seed, self.workers.rank))

    def _read(self, source: Source, indices: np.ndarray, smallest: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Blocks of inputs and targets, in the order of `indices`."""
        labels = source.samples.labels
        for decoded in self._decode(source, indices, smallest):
            _refuse_broken([str(e) for e in decoded.errors if e])
            if decoded.targets is not None:
                yield decoded.inputs, decoded.targets
            elif labels is not None:
                yield decoded.inputs, labels[indices[decoded.first : decoded.first + len(decoded.inputs)]]
            else:
                yield (decoded.inputs,)

    def _resident(self, source: Source, indices: np.ndarray) -> list[torch.Tensor]:
        """Inputs (n, C, *spatial) and targets at `indices`, uint8 images or int64 labels, one tensor each.

        They are on the GPU if they fit beside the training.
        """
        sides = {name: torch.empty((len(indices), *s.shape), dtype=torch.uint8) for name, s in source.sides.items()}
        errors: list[str] = []
        for decoded in self._decode(source, indices, 1):
            rows = slice(decoded.first, decoded.first + len(decoded.inputs))
            sides["input"].numpy()[rows] = decoded.inputs
            if decoded.targets is not None:
                sides["target"].numpy()[rows] = decoded.targets
            errors += [str(e) for e in decoded.errors if e]
        _refuse_broken([e for part in self.workers.gather(errors) for e in part])
        tensors = list(sides.values())
        if source.target is None and source.samples.labels is not None:
            tensors.append(torch.from_numpy(source.samples.labels[indices]))
        needed = sum(tensor.nbytes for tensor in tensors)
        if self.device.type == "cuda" and needed < 0.5 * torch.cuda.mem_get_info(self.device)[0]:
            return [tensor.to(self.device) for tensor in tensors]
        return tensors

    def _decode(self, source: Source, indices: np.ndarray, smallest: int) -> Iterator[pipeline.Decoded]:
        return pipeline.decode(source, indices, decode_cpus=self.job.decode_cpus, smallest_chunk=smallest)

    def _moved(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        if self.device.type == "cpu":
            return batches
        return (
            Batch(
                b.input.to(self.device, non_blocking=True),
                None if b.target is None else b.target.to(self.device, non_blocking=True),
                b.positions,
            )
            for b in batches
        )

    def _average_statistics(self) -> None:
        """Give all workers the mean of their normalization statistics: each has seen its part of the batches only."""
        for buffer in self.network.buffers():
            if buffer.is_floating_point():
                self.workers.sum(buffer).div_(self.workers.size)

    def _optimizer(self, choice: Choice) -> torch.optim.Optimizer:
        return choice.build([p for p in self.network.parameters() if p.requires_grad])

    def _save(self, epoch: int) -> None:
        job = self.job
        due = job.save is not None and (epoch % job.interval == 0 or epoch == job.num_epochs)
        if self.workers.rank or self.optimizer is None or not (due or job.state_path):
            return
        checkpoint = Checkpoint(
            epoch=epoch,
            network=self.network.state_dict(),
            layers=job.layers,
            input_shape=job.network.input_shapes[0],
            classes=job.classes,
            optimizer=self.optimizer.state_dict(),
            run_id=job.run_id,
        )
        if job.state_path:
            checkpoints.save(Path(job.state_path), checkpoint)
        if due and job.save is not None:
            path = checkpoints.checkpoint_path(job.save, epoch)
            checkpoints.save(path, checkpoint)
            self.emit(Saved("checkpoint", str(path)))

    def _resume(self, path: str) -> None:
        state = checkpoints.load(path)
        if state.run_id != self.job.run_id or self.optimizer is None:
            return
        checkpoints.load_into(self.network, state.network, path)
        self.optimizer.load_state_dict(state.optimizer)
        self.first_epoch = state.epoch + 1


class _Reporter:
    """Collects the steps of one worker and sends them on a few times a second.

    Losses stay on the device until then: reading one makes the CPU wait for the GPU.
    """

    def __init__(self, emit: Emit):
        self._emit = emit
        self._started = time.perf_counter()
        self._sent = 0.0
        self._steps: list[tuple[int, int, float, Trained, float]] = []

    def add(self, epoch: int, batch: int, trained: Trained, waited: float) -> None:
        seconds = time.perf_counter() - self._started
        self._steps.append((epoch, batch, seconds, trained, waited))
        if seconds - self._sent >= _SECONDS_BETWEEN_REPORTS:
            self.flush()
            self._sent = seconds

    def flush(self) -> None:
        if not self._steps:
            return
        values = torch.stack([torch.stack([t.loss, t.gradient_norm]) for _, _, _, t, _ in self._steps]).tolist()
        rows = [
            BatchRow(epoch, batch, seconds, loss, norm, waited, trained.compute_seconds, trained.reduce_seconds)
            for (epoch, batch, seconds, trained, waited), (loss, norm) in zip(self._steps, values, strict=True)
        ]
        self._steps.clear()
        self._emit(BatchesTrained(rows))
        for row in rows:
            if not math.isfinite(row.loss):
                raise DivergenceError(
                    f"the loss is {row.loss} in epoch {row.epoch}, batch {row.batch}. "
                    "A smaller learning_rate or gradient_clip may help"
                )


def _refuse_broken(errors: list[str]) -> None:
    if errors:
        shown = [Problem("", e) for e in errors[:10]]
        more = [Problem("", f"... and {len(errors) - 10} more that cannot be used")] if len(errors) > 10 else []
        raise DataError(*shown, *more)


def _say_nothing(message: Message) -> None:
    pass
