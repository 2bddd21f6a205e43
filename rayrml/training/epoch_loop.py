"""One worker's epoch loop: its steps, its evaluation and its checkpoints."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from rayrml import storage
from rayrml.boxes.batch import OriginalBoxes
from rayrml.config.figures import TEST_LOSS, loss_of, title
from rayrml.data.draws import Draws, mix_seed
from rayrml.data.shards import Batch
from rayrml.data.transforms import BatchTransforms
from rayrml.formatting import shorten
from rayrml.inference.applications import Pass, application_of
from rayrml.inference.arithmetic import arithmetic, autocast_dtype, has_tf32
from rayrml.inference.each_sample import Prepared
from rayrml.inference.evaluation import as_target
from rayrml.inference.outputs import Outputs, destination_of
from rayrml.inference.prediction_files import Destination, PredictionSink
from rayrml.metrics import Evaluation
from rayrml.networks.drawing import write_dot
from rayrml.reporting.messages import (
    Driver,
    Emit,
    EpochDone,
    Evaluated,
    FinalTested,
    Phase,
    Saved,
    Started,
)
from rayrml.tensors import tiny_as_zero
from rayrml.training.applications import trained_application
from rayrml.training.checkpoint_manager import CheckpointManager, Progress
from rayrml.training.early_end import EarlyEnd
from rayrml.training.feed import Feed
from rayrml.training.feeding import Feeder
from rayrml.training.final_test import best_weights
from rayrml.training.job import Job
from rayrml.training.preemption import Notice
from rayrml.training.random_states import begin_epoch, read_states
from rayrml.training.running_statistics import average_statistics
from rayrml.training.sample_order import FINAL_TEST, TEST, TRAINING, transforms_seed
from rayrml.training.step import Step
from rayrml.training.step_reports import Reporter
from rayrml.training.trainee import Trainee
from rayrml.workers import Workers

_BATCHES_BETWEEN_LOOKS = 8  # of an evaluation, at whether the run is to stop


class _Pass(NamedTuple):
    """One pass over samples that are evaluated, by all workers.

    Attributes:
        found: what was found in all samples.
        seconds: duration of the pass.
        num_samples: samples of all workers.
    """

    found: Evaluation
    seconds: float
    num_samples: int


class Worker:
    """One worker's part of a run; every worker runs the same code on its share of the samples."""

    def __init__(
        self,
        job: Job,
        workers: Workers,
        device: torch.device,
        *,
        driver: Driver,
        outputs: Outputs,
        notice: Notice = Notice(),  # noqa: B008 (it has no state)
    ):
        self.job = job
        self.workers = workers
        if device.type == "cuda" and device.index is None:
            device = torch.device(device.type, torch.cuda.current_device())  # as tensors report their device
        self.device = device
        self.outputs = outputs
        self.driver = driver
        self.checkpoints = CheckpointManager(job, workers, driver)
        self.emit: Emit = self.checkpoints.announcer
        self.early_end = EarlyEnd(workers, driver, notice, self.emit)
        self.network = job.network.to(device)
        if job.config.compile:
            self.network.compile()
        self.autocast = autocast_dtype(job.config.precision, device)
        self.loss = job.loss.build()
        self.transforms = job.datasets.transforms.batched
        self.evaluation_transforms = self.transforms.evaluation()
        row = trained_application(job.config)
        self.trainee = None if job.optimizer is None else row.trainee(job, job.optimizer, self.network, workers)
        self.watch = row.watch(job, self.network, workers, self.emit)
        self._evaluation_seconds: float | None = None  # of the last one in training
        self.progress = Progress() if self.trainee is None else self.checkpoints.resume(self.trainee)

    def run(self) -> None:
        """Train and evaluate all epochs, or evaluate once if there are no training samples."""
        config = self.job.config
        with tiny_as_zero(), arithmetic(config.precision, self.device, benchmark=config.cudnn_benchmark):
            if config.precision == "tf32" and not has_tf32(self.device):
                self.emit(Phase('"precision": "tf32" is float32 here: this device has no TF32'))
            self._run()

    def _run(self) -> None:
        datasets = self.job.datasets
        feeder = Feeder(self.job, self.workers, self.device, self.emit)
        training = None if datasets.training is None else feeder.feed(datasets.training, TRAINING)
        test = None if datasets.test is None else feeder.feed(datasets.test, TEST)
        if training is not None and self.trainee is not None:
            complete = self._run_epochs(training, test, self.trainee, feeder)
            if complete and datasets.final_test is not None:
                self._test_finally(feeder.feed(datasets.final_test, FINAL_TEST), self.trainee)
        elif test is not None:
            self.emit(EpochDone({"epoch": 1, **(self._evaluate(test, 1) or {})}))

    def training_step(self, trainee: Trainee) -> Step:
        """The step that the job asks for."""
        return trainee.make_step(
            self.loss,
            workers=self.workers,
            autocast=self.autocast,
            gradient_clip=self.job.config.gradient_clip,
            graphs=not (self.job.config.compile or self.job.config.activation_checkpointing),
            accumulate=self.job.options.accumulate,
            global_batch_norm=self.job.global_batch_norm,
            sample_shape=self.job.datasets.shape,
            before_update=self.checkpoints.settle,
        )

    def _run_epochs(self, training: Feed, test: Feed | None, trainee: Trainee, feeder: Feeder) -> bool:
        """Train from where the run has got to; return whether it was not interrupted."""
        begin = self.progress
        resumed = bool(self.job.resume_from)
        self.emit(
            Started(
                begin.epoch,
                min(begin.batch, training.num_batches(self.job.config.data.batch_size)),
                resumed=resumed,
                history=tuple(trainee.history),
                rows=tuple(begin.rows),
                seconds=trainee.seconds,
                checkpoint=begin.checkpoint,
                num_workers=self.workers.size,
            )
        )
        try:
            reading = functools.partial(feeder.read_some, feeds={TRAINING: training, TEST: test})
            self.watch.begin(lambda source, rows: self._evaluated_batches(reading(source, rows), compares=True))
            complete = self._run_each(training, test, trainee)
        except BaseException:
            self.checkpoints.give_up()
            raise
        finally:
            training.close()
        self.checkpoints.finish()
        return complete

    def _run_each(self, training: Feed, test: Feed | None, trainee: Trainee) -> bool:
        """Train each epoch; return whether the run was not interrupted."""
        names, shown = self.loss.term_names, bool(self.loss.term_symbols)
        reporter = Reporter(self.emit, names, trainee.seconds, shows_terms=shown)
        begin = self.progress
        if trainee.stopping is not None and trainee.stopping.over:
            return True  # it had ended early before it was resumed
        step = self.training_step(trainee)
        for epoch in range(begin.epoch, self.job.config.num_epochs + 1):
            if freed := trainee.begin_epoch(epoch):
                self.emit(Phase(f"Trained from epoch {epoch} on: {shorten(freed)}"))
                step = self.training_step(trainee)
            rate = trainee.rate
            if trainee.schedule is not None and trainee.schedule.verbose:
                self.emit(Phase(f"Learning rate in epoch {epoch}: {rate:g}"))
            stopped = self.train(step, training, begin if epoch == begin.epoch else Progress(epoch), reporter)
            trainee.seconds = reporter.seconds
            if stopped is not None:
                self._end_early(trainee, stopped)
                return False
            for network in trainee.networks:
                average_statistics(network, self.workers)
            figures = {"epoch": epoch, **reporter.finish_epoch(), "learning_rate": rate}
            if skipped := trainee.describe_skipped(epoch):
                self.emit(Phase(skipped))
            trained = Progress(epoch, training.num_batches(self.job.config.data.batch_size), reporter.losses)
            last = self._finish_epoch(trained, figures, test, trainee)
            if last is not False:
                return last is True
        return True

    def _finish_epoch(
        self, trained: Progress, figures: dict[str, float], test: Feed | None, trainee: Trainee
    ) -> bool | None:
        """Evaluate and save after an epoch's training; return whether it was the last, None if interrupted."""
        epoch = trained.epoch
        stopping = trainee.stopping
        last = epoch == self.job.config.num_epochs or (stopping is not None and stopping.ends_after(figures))
        self.checkpoints.announcer.hold()
        due = test is not None and (last or epoch % self.job.config.evaluate_every == 0)
        self.checkpoints.begin(trainee, trained, self._evaluation_seconds if due else 0.0)
        if test is not None and due:
            started = time.perf_counter()
            with trainee.evaluated():
                evaluated = self._evaluate(test, epoch)
            self._evaluation_seconds = time.perf_counter() - started
            if evaluated is None:
                self.checkpoints.announcer.release()
                self._end_early(trainee, trained)
                return None
            figures |= evaluated
        self.watch.after_epoch(epoch, trainee.evaluated)
        trainee.history.append(figures)
        self.emit(EpochDone(figures))
        if stopping is not None and stopping.update(figures):
            last = True
        trainee.end_epoch(loss_of(figures, tested=self.job.datasets.test_targets))
        self._debug(epoch)
        self.checkpoints.save(trainee, epoch, last=last)
        return last

    def _end_early(self, trainee: Trainee, reached: Progress) -> None:
        """Keep the state that training has reached, and end; all workers must call it."""
        self.checkpoints.save_unfinished(trainee, reached)
        self.early_end.finish(reached.epoch, reached.batch)

    def train(self, step: Step, feed: Feed, begin: Progress, reporter: Reporter) -> Progress | None:
        """Train an epoch from `begin` on; return where it stopped if any worker was asked to stop, else None."""
        epoch, trainee, batch_size = begin.epoch, self.trainee, self.job.config.data.batch_size
        if trainee is None:
            return None
        for network in trainee.networks:
            network.train()
        # Those that go on in the middle of an epoch of other workers draw numbers of their own.
        numbers = (self.job.config.seed, epoch, self.workers.rank, *([begin.batch] if begin.batch else []))
        begin_epoch(mix_seed(*numbers), begin.random, self.device)
        seed = transforms_seed(self.job.config.seed, epoch)
        reporter.begin_epoch(trainee.rate, begin.losses)
        num_batches = feed.num_batches(batch_size)
        before = time.perf_counter()
        for batch in feed.global_batches(batch_size, epoch, begin.batch):
            images, target = self._prepared(batch.own, self.transforms, Draws(seed, batch.own.uses))
            target = trainee.complete_target(images, target, batch, epoch)
            if (rate := trainee.move_rate((batch.number - 1) / num_batches)) is not None:
                reporter.rate = rate
            waited = time.perf_counter() - before
            wishes = self.early_end.wishes(save=self.checkpoints.is_due)
            trained = step(images, target, batch.size, begin=batch.begin, wishes=wishes)
            trainee.after_step()
            reporter.add(epoch, batch.number, trained, waited, num_samples=batch.size)
            if any(trained.wishes):
                reporter.flush()
                reached = Progress(epoch, batch.number, reporter.losses, read_states(self.device))
                if self.early_end.agree(trained.wishes):
                    return reached
                trainee.seconds = reporter.seconds
                self.checkpoints.save_unfinished(trainee, reached, wait=False)
            before = time.perf_counter()
        return None

    def _prepared(self, batch: Batch, transforms: BatchTransforms, source: Draws | None) -> tuple[torch.Tensor, Any]:
        """Inputs and targets as network and loss take them; targets are None where the inputs serve as targets."""
        target = batch.target
        if isinstance(target, OriginalBoxes):
            boxes = self.job.datasets.transforms.decoded_boxes(target.boxes, target.sizes, source)
            target = boxes.to(self.device)
        images, target = transforms(batch.input, target, source, self.workers)
        if not len(batch.positions):
            return batch.input, batch.input
        return images, None if target is None else as_target(target, self.loss)

    def _evaluate(self, feed: Feed, epoch: int) -> dict[str, float] | None:
        """The figures of one pass over the test samples, none if these have no targets; writes predictions.

        None if a worker was asked to stop meanwhile.
        """
        compares = self.job.datasets.test_targets
        destination = self._destination(feed, epoch)
        # During training, nothing shows the classes of pixels.
        done = self._pass(feed, compares=compares, pixels=self.trainee is None, destination=destination)
        if done is None:
            return None
        found = done.found
        num_batches = feed.num_batches(self.job.config.data.test_batch_size)
        self.emit(Evaluated(epoch, num_batches, done.seconds, found))
        for kind, path in () if destination is None else destination.saved:
            self.emit(Saved(kind, path))
        return ({} if found.loss is None else {TEST_LOSS: found.loss}) | found.figures

    def _test_finally(self, feed: Feed, trainee: Trainee) -> None:
        """Evaluate the best model on the samples of the final test; the network keeps its last weights."""
        weights, epoch = best_weights(self.job, self.workers, trainee.history)
        with trainee.evaluated(weights):
            done = self._pass(feed, compares=True, pixels=True)
        if done is None:
            self.early_end.finish(int(trainee.history[-1]["epoch"]), self.progress.batch)
        else:
            self.emit(FinalTested(epoch, done.num_samples, done.found))

    def _pass(
        self, feed: Feed, *, compares: bool, pixels: bool, destination: Destination | None = None
    ) -> _Pass | None:
        """Evaluate all samples and write predictions to the destination; None if a worker was asked to stop."""
        started = time.perf_counter()
        self.network.eval()
        step = application_of(self.job.config).evaluator(self._describe_pass(feed, compares=compares, pixels=pixels))
        sink = None if destination is None else self._begin_output(destination)
        num_samples = 0
        batches = self._evaluated_batches(feed.batches(self.job.config.data.test_batch_size, None), compares=compares)
        for number, (positions, outputs) in enumerate(step.run(batches)):
            if number % _BATCHES_BETWEEN_LOOKS == 0 and self._ends_early():
                self._abandon(sink)
                return None
            num_samples += len(positions)
            if sink is not None and len(positions):
                sink.write(positions, step.written(outputs))
        if sink is not None:
            sink.close()
        found = step.result(self.device)  # waits for all workers, so all predictions are written
        if sink is not None and self.workers.rank == 0:
            self.outputs.finish()
        if (metric := step.metric) is not None and found.value is None:
            self.emit(Phase(f"{title(metric.name)} is undefined: {metric.undefined_if}"))
        if not compares:
            found = dataclasses.replace(found, loss=None)
        return _Pass(found, time.perf_counter() - started, sum(self.workers.gather(num_samples)))

    def _evaluated_batches(self, batches: Iterable[Batch], *, compares: bool) -> Iterator[Prepared]:
        """This worker's part of each batch, as it is evaluated."""
        for batch in batches:
            images, target = self._prepared(batch, self.evaluation_transforms, None)
            yield images, images if target is None and compares else target, batch

    def _describe_pass(self, feed: Feed, *, compares: bool, pixels: bool) -> Pass:
        critic = self.job.critic
        return Pass(
            self.job.config,
            self.network,
            self.loss,
            feed.source,
            self.job.datasets.transforms,
            self.autocast,
            workers=self.workers,
            compares=compares,
            metric=self.job.metric,
            pixels=pixels,
            # That of the last epoch has not seen samples of the best one, which is tested finally.
            critic=None if critic is None or feed.source is self.job.datasets.final_test else critic.network,
            judge=self.job.judge,
        )

    def _ends_early(self) -> bool:
        """Whether all workers end a training now; every worker must call it."""
        return self.trainee is not None and self.early_end.ask_all(self.device)

    def _abandon(self, sink: PredictionSink | None) -> None:
        if sink is not None:
            sink.discard()
            self.workers.gather(None)  # nothing more is under way
            if self.workers.rank == 0:
                self.outputs.discard()

    def _destination(self, feed: Feed, epoch: int) -> Destination | None:
        """Where the predictions of an epoch's evaluation are written, None if they are not requested."""
        job = self.job
        if not job.predicts:
            return None
        return destination_of(feed.source, job.config, epoch, job.datasets.classes, drawing=job.drawing)

    def _begin_output(self, destination: Destination) -> PredictionSink:
        if self.workers.rank == 0:
            self.outputs.begin(destination)
        self.workers.gather(None)  # no worker writes before the file is open
        return self.outputs.sink(destination)

    def _debug(self, epoch: int) -> None:
        interval = self.job.config.debug_interval
        if (
            self.job.debug_path is not None
            and interval is not None
            and epoch % interval == 0
            and self.workers.rank == 0
        ):
            write_dot(self.network, storage.marked(self.job.debug_path, f"_{epoch}"), statistics=True)
