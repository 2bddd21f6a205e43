"""An inference run: predictions for samples without targets."""

from __future__ import annotations

import contextlib
import itertools
import time

import numpy as np

from rayrml import storage
from rayrml.inference import batch_job
from rayrml.inference.applications import application_of
from rayrml.inference.batch_job import InferenceJob
from rayrml.inference.generation_step import find_sample_range
from rayrml.inference.outputs import destination_of
from rayrml.inference.prediction_reading import read_outputs
from rayrml.inference.sample_grid import NUM_SAMPLES, can_draw, write_grid
from rayrml.planning.plan import InferencePlan
from rayrml.reporting.file_names import SAMPLES_PICTURE
from rayrml.reporting.messages import Saved, Skipped
from rayrml.runs.context import Context


def infer(context: Context, plan: InferencePlan) -> int:
    """Predict all samples of the plan, write the predictions if the plan names a file, and return their number.

    Raises:
        DataError: files cannot be read or written.
        ClusterError: workers were lost permanently.
    """
    nn, console = plan.config.neural_network, context.console
    wanted = destination_of(plan.test, nn, 1, plan.classes, drawing=plan.pictures.drawing)
    if not wanted.paths:
        console.line("No test_output_path is given: predictions are computed, but not saved")
    job = InferenceJob(
        config=nn,
        network=plan.network,
        source=plan.test,
        transforms=plan.datasets.transforms,
        loss=plan.loss,
        destination=wanted,
    )
    started = time.monotonic()
    shown = started

    def progress(done: int, *, finished: bool = False) -> None:
        nonlocal shown
        now, total = time.monotonic(), len(job.source.samples)
        rate = batch_job.format_rate(started, done)
        console.wait_for(f"Predicting: {done} of {total} samples ({rate})")
        finished = finished or done == total
        if finished or now - shown >= 1:
            shown = now
            with console.unseen(console.is_live and not finished):
                console.line(f"Inference : {done} of {total} samples ({rate})")

    with console.waiting(f"Predicting {len(job.source.samples)} samples"):
        count = batch_job.predict(
            job, context.allocation, progress, skipped=lambda bad: context.emit(Skipped(bad)), say=console.line
        )
    if context.state.skipped:
        progress(count, finished=True)
    if wanted.path is not None and wanted.path not in wanted.paths:
        console.line("An object store has no links between files: the index says in which shard each sample is")
    for kind, path in wanted.saved:
        context.emit(Saved(kind, path))
    if wanted.path is not None and application_of(nn).generates and can_draw(plan.network.output_shapes[0]):
        context.emit(Saved("samples", _draw_samples(plan, wanted.path, wanted.paths[0])))
    return count


def _draw_samples(plan: InferencePlan, file: str, leads_to: str) -> str:
    """Draw the first samples into a picture beside the file, whose path is returned. Raises DataError.

    What `leads_to` them is the file itself, or the index of its shards.
    """
    with contextlib.closing(read_outputs(leads_to)) as outputs:
        samples = [output for _, output in itertools.islice(outputs, NUM_SAMPLES)]
    path = storage.join(storage.parent(file), SAMPLES_PICTURE)
    write_grid(path, np.stack(samples), find_sample_range(plan.test, plan.datasets.transforms, plan.network))
    return path
