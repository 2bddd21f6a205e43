"""The epoch loop of one worker: its steps, its evaluation and its checkpoints."""

from __future__ import annotations

import contextlib
import math
import time

import torch

from rayrml import checkpoints, storage
from rayrml.checkpoints import Checkpoint
from rayrml.data.shards import Batch, mix_seed
from rayrml.data.transforms import BatchTransforms
from rayrml.dot import write_dot
from rayrml.early_stopping import EarlyStopping
from rayrml.errors import DataError, DivergenceError
from rayrml.feeding import TEST, TRAINING, TRANSFORMS, Feed, Feeder
from rayrml.jobs import Job, Outputs
from rayrml.lookup import Choice
from rayrml.lr_schedulers import Schedule
from rayrml.predictions import PredictionSink
from rayrml.run_log import BatchesTrained, BatchRow, Emit, EpochDone, Evaluated, Message, Phase, Saved, Started
from rayrml.steps import EvaluationStep, Trained, TrainingStep, as_target, autocast_dtype, metric_of
from rayrml.workers import Workers, global_batch_sizes

_SECONDS_BETWEEN_REPORTS = 0.25


class Worker:
    """One worker's part of a run; every worker runs the same code on its share of the samples."""

    def __init__(self, job: Job, workers: Workers, device: torch.device, *, emit: Emit, outputs: Outputs):
        self.job = job
        self.workers = workers
        self.device = device
        self.emit: Emit = emit if workers.rank == 0 else _say_nothing
        self.outputs = outputs
        self.writer = checkpoints.Writer(lambda path: self.emit(Saved("checkpoint", path)))
        self.network = job.network.to(device)
        if job.compile:
            self.network.compile()
        self.autocast = autocast_dtype(job.precision, device)
        self.loss = job.loss.build()
        self.evaluation_transforms = job.transforms.evaluation()
        self.first_epoch = 1
        self.history: list[dict[str, float]] = []
        stopping = job.stopping
        self.stopping = stopping and EarlyStopping(stopping.patience, stopping.metric, stopping.min_delta)
        self.schedule: Schedule | None = None
        self.optimizer = None if job.optimizer is None else self._optimizer(job.optimizer)
        if self.optimizer is not None:
            self._resume(self.optimizer)

    def run(self) -> None:
        """Train and evaluate all epochs, or evaluate once if there is nothing to train on."""
        job = self.job
        feeder = Feeder(job, self.workers, self.device, self.emit)
        training = None if job.training is None else feeder.feed(job.training, TRAINING)
        test = None if job.test is None else feeder.feed(job.test, TEST)
        if training is not None and self.optimizer is not None:
            self._run_epochs(training, test, self.optimizer)
        elif test is not None:
            self.emit(EpochDone({"epoch": 1, **self._evaluate(test, 1)}))

    def _run_epochs(self, training: Feed, test: Feed | None, optimizer: torch.optim.Optimizer) -> None:
        step = TrainingStep(
            self.network,
            self.loss,
            optimizer,
            workers=self.workers,
            autocast=self.autocast,
            gradient_clip=self.job.gradient_clip,
            compression=self.job.gradient_compression,
        )
        self.emit(Started(self.first_epoch, self.job.resume_from is not None, tuple(self.history)))
        try:
            self._run_each(step, training, test, optimizer)
        except BaseException:
            with contextlib.suppress(DataError):  # what came first is what went wrong
                self.writer.wait()
            raise
        finally:
            training.shard.close()
        self.writer.wait()

    def _run_each(
        self, step: TrainingStep, training: Feed, test: Feed | None, optimizer: torch.optim.Optimizer
    ) -> None:
        reporter = _Reporter(self.emit)
        for epoch in range(self.first_epoch, self.job.num_epochs + 1):
            rate = float(optimizer.param_groups[0]["lr"])
            if self.schedule is not None and self.schedule.verbose:
                self.emit(Phase(f"Learning rate in epoch {epoch}: {rate:g}"))
            figures = {"epoch": epoch, **self._train(step, training, epoch, reporter), "learning_rate": rate}
            if self.workers.size > 1:
                self._average_statistics()
            if test is not None:
                figures |= self._evaluate(test, epoch)
            self.history.append(figures)
            self.emit(EpochDone(figures))
            last = epoch == self.job.num_epochs
            if self.stopping is not None and self.stopping.update(figures):
                last = True
            if self.schedule is not None:
                self.schedule.step(figures.get("test_loss", figures["train_loss"]))
            self._debug(epoch)
            # Last, so that an epoch that is on disk has been announced in full.
            self._save(epoch, optimizer, last=last)
            if last:
                break

    def _train(self, step: TrainingStep, feed: Feed, epoch: int, reporter: _Reporter) -> dict[str, float]:
        # Random numbers follow from the epoch alone, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(mix_seed(self.job.seed, epoch, self.workers.rank))
        self.network.train()
        sizes = global_batch_sizes(len(feed.source.samples), self.job.batch_size)
        mine = self.workers.batch_sizes(len(feed.source.samples), self.job.batch_size)
        generator = torch.Generator().manual_seed(mix_seed(self.job.seed, TRANSFORMS, epoch, self.workers.rank))
        before = time.perf_counter()
        for number, (size, batch) in enumerate(zip(sizes, feed.batches(mine, epoch), strict=True), 1):
            images, target = self._prepared(batch, self.job.transforms, generator)
            waited = time.perf_counter() - before
            trained = step(images, images if target is None else target, size)
            reporter.add(epoch, number, trained, waited)
            before = time.perf_counter()
        return reporter.finish_epoch()

    def _prepared(
        self, batch: Batch, transforms: BatchTransforms, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs and targets as network and loss take them; targets None where the inputs themselves are meant."""
        if not len(batch.positions):
            return batch.input, batch.input
        images, target = transforms(batch.input, batch.target, generator)
        return images, None if target is None else as_target(target, self.loss)

    def _evaluate(self, feed: Feed, epoch: int) -> dict[str, float]:
        """The figures of one pass over the test samples, none if they have no targets; writes predictions."""
        started = time.perf_counter()
        self.network.eval()
        compares = self.job.test_targets
        metric = metric_of(self.loss) if compares else None
        # The loss may have something to say about outputs even where there is nothing to compare them with.
        step = EvaluationStep(self.network, self.loss, metric, workers=self.workers, autocast=self.autocast)
        sizes = self.workers.batch_sizes(len(feed.source.samples), self.job.test_batch_size)
        sink = self._begin_output(epoch)
        for batch in feed.batches(sizes, None):
            if not len(batch.positions):
                continue
            images, target = self._prepared(batch, self.evaluation_transforms, None)
            output = step(images, images if target is None and compares else target)
            if sink is not None:
                sink.write(batch.positions, output.cpu().numpy())
        if sink is not None:
            sink.close()
        loss, value = step.result(self.device)  # waits for all workers, so that all have written
        if sink is not None and self.workers.rank == 0:
            self.outputs.finish()
        seconds = time.perf_counter() - started
        name = metric.name if metric is not None else ""
        self.emit(Evaluated(epoch, len(sizes), loss if compares else None, name, value, seconds))
        if sink is not None:
            for path in self.job.destination(epoch).paths:
                self.emit(Saved("predictions", path))
        figures = {"test_loss": loss} if compares else {}
        return figures | ({} if value is None else {name: value})

    def _begin_output(self, epoch: int) -> PredictionSink | None:
        if not self.job.predicts:
            return None
        if self.workers.rank == 0:
            self.outputs.begin(self.job, epoch)
        self.workers.gather(None)  # nobody writes before the file is open
        return self.outputs.sink(self.job, epoch)

    def _average_statistics(self) -> None:
        """Give all workers the mean of their normalization statistics: each has seen its part of the batches only."""
        buffers = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        if buffers:
            means = self.workers.sum(torch.cat([buffer.flatten() for buffer in buffers])).div_(self.workers.size)
            for buffer, mean in zip(buffers, means.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def _optimizer(self, choice: Choice) -> torch.optim.Optimizer:
        optimizer = choice.build([p for p in self.network.parameters() if p.requires_grad])
        if self.job.schedule is not None:
            self.schedule = self.job.schedule.build(optimizer, self.job.num_epochs)
        return optimizer

    def _debug(self, epoch: int) -> None:
        interval = self.job.debug_interval
        if self.job.debug is not None and interval is not None and epoch % interval == 0 and self.workers.rank == 0:
            write_dot(self.network, storage.marked(self.job.debug, f"_{epoch}"), statistics=True)

    def _save(self, epoch: int, optimizer: torch.optim.Optimizer, *, last: bool) -> None:
        job = self.job
        due = job.save is not None and (epoch % job.interval == 0 or last)
        if self.workers.rank or not (due or job.state_path):
            return
        checkpoint = Checkpoint(
            epoch=epoch,
            network=self.network.state_dict(),
            layers=job.layers,
            input_shape=job.network.input_shapes[0],
            classes=job.classes,
            optimizer=optimizer.state_dict(),
            scheduler=self.schedule.state_dict() if self.schedule else {},
            stopping=self.stopping.state_dict() if self.stopping else {},
            history=self.history,
            run_id=job.run_id,
        )
        path = checkpoints.checkpoint_path(job.save, epoch) if due and job.save is not None else None
        self.writer.save(checkpoint, path, job.state_path)

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        """Go on after the last epoch of this run, if workers were lost in it, else after that of an earlier one."""
        job = self.job
        state = checkpoints.found(job.state_path) if job.state_path else None
        if (state is None or state.run_id != job.run_id) and job.resume_from is not None:
            state = checkpoints.load(job.resume_from)
        elif state is None or state.run_id != job.run_id:
            return
        checkpoints.load_into(self.network, state.network, job.resume_from or job.state_path or "")
        optimizer.load_state_dict(state.optimizer)
        if self.schedule is not None and state.scheduler:
            self.schedule.load_state_dict(state.scheduler)
        if self.stopping is not None and state.stopping:
            self.stopping.load_state_dict(state.stopping)
        self.history = list(state.history)
        self.first_epoch = state.epoch + 1


class _Reporter:
    """Collects the steps of one worker and sends them on a few times a second.

    Losses stay on the device until then: reading one makes the CPU wait for the GPU.
    """

    def __init__(self, emit: Emit):
        self._emit = emit
        self._started = time.perf_counter()
        self._sent = 0.0
        self._epoch_began = 0.0
        self._losses: list[float] = []
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
        trained = [step[3] for step in self._steps]
        norms = torch.linalg.vector_norm(torch.stack([t.lengths for t in trained]), dim=1)
        values = torch.stack([torch.stack([t.loss for t in trained]), norms]).T.tolist()
        rows = [
            BatchRow(epoch, batch, seconds, loss, norm, waited, trained.compute_seconds, trained.reduce_seconds)
            for (epoch, batch, seconds, trained, waited), (loss, norm) in zip(self._steps, values, strict=True)
        ]
        self._steps.clear()
        self._losses += [row.loss for row in rows]
        self._emit(BatchesTrained(rows))
        for row in rows:
            if not math.isfinite(row.loss):
                raise DivergenceError(
                    f"the loss is {row.loss} in epoch {row.epoch}, batch {row.batch}. "
                    "A smaller learning_rate or gradient_clip may help"
                )

    def finish_epoch(self) -> dict[str, float]:
        """The epoch's mean loss over its batches, and its seconds."""
        self.flush()
        now = time.perf_counter() - self._started
        figures = {"train_loss": sum(self._losses) / len(self._losses), "seconds": now - self._epoch_began}
        self._losses, self._epoch_began = [], now
        return figures


def _say_nothing(message: Message) -> None:
    pass
