"""An inference run: predictions for samples without targets."""

from __future__ import annotations

import time

from rayrml.inference import batch_job
from rayrml.inference.batch_job import InferenceJob
from rayrml.inference.outputs import destination_of
from rayrml.planning.plan import InferencePlan
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
    for kind, path in wanted.saved:
        context.emit(Saved(kind, path))
    return count
