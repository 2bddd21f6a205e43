"""A trial of a search: its share of the cluster, and what its process does."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ray import tune as ray_tune

from rayrml.cluster import nodes
from rayrml.cluster.allocation import Allocation, cpus_left
from rayrml.cluster.capacity import add_up
from rayrml.cluster.connection import hide_messages
from rayrml.config.sections import Config
from rayrml.data.listings import Listings, listing_once
from rayrml.errors import RayrmlError
from rayrml.planning.plan import TrainingPlan
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from rayrml.reporting.messages import EpochDone, Message
from rayrml.runs.runner import execute
from rayrml.training.interrupts import Interrupts
from rayrml.training.trainer import call_in_background

FAILED = "failed"  # the key of the reason in a report
PATIENCE = 60.0  # seconds for a stopped trial to end
_SECONDS_BETWEEN_LOOKS = 0.1
_OF_A_TRIAL = 0.001  # CPUs of a process that only waits for its workers
_LEAST_LEFT = 0.1  # CPUs for decoding


@dataclasses.dataclass(frozen=True)
class Parcel:
    """What is sent to all trials.

    Attributes:
        configs: path of a trial's configuration, with `{number}` in it.
        allocation: a trial's share of the cluster.
        threads: threads of a process that trains by itself.
        listings: what is in the folders of the data, so that trials need not list them again.
    """

    configs: str
    allocation: Allocation
    threads: int
    listings: Listings


def trial(config: dict[str, Any], *, parcel: Parcel) -> None:
    """Train as the trial's configuration says, and report the figures of each epoch to Ray Tune, which may stop it."""
    if not parcel.allocation.verbose:
        hide_messages()
    torch.set_num_threads(parcel.threads)
    told = _Told()

    def run() -> None:
        # What an interrupted trial left is of no use: it begins again.
        with listing_once(parcel.listings):
            plan = prepare(parcel.configs.format(number=config["number"]), {"checkpoints.exist": "overwrite"})
        if isinstance(plan, TrainingPlan):  # the final test is for the model that is chosen, not for choosing it
            plan = plan.without_final_test()
        execute(plan, parcel.allocation, Interrupts(), console=Console(quiet=True), also=told.receive)

    # Several threads announce epochs, and when Ray Tune stops a trial, it ends the thread that reports to it.
    work = call_in_background(run)
    try:
        while not work.done() or told.waiting:
            told.pass_on(ray_tune.report)
    finally:
        told.stop()
        concurrent.futures.wait([work], PATIENCE)
    error = work.exception()
    if isinstance(error, RayrmlError | torch.OutOfMemoryError | MemoryError):
        ray_tune.report({FAILED: str(error)})
    elif error is not None:
        raise error


class _Stopped(BaseException):
    """Ray Tune has stopped the trial."""


class _Told:
    """Passes a run's epochs on to Ray Tune.

    The run writes nothing more until it is known whether it continues, so that the files of a stopped trial do not
    change.
    """

    def __init__(self) -> None:
        self._figures: queue.SimpleQueue[dict[str, float]] = queue.SimpleQueue()
        self._decided = threading.Event()
        self._stopped = False

    @property
    def waiting(self) -> bool:
        """Whether there are figures to pass on."""
        return not self._figures.empty()

    def receive(self, message: Message) -> None:
        """Process a message of the run; raises in the run if the trial is stopped."""
        if isinstance(message, EpochDone):
            self._decided.clear()
            self._figures.put(dict(message.figures))
            self._decided.wait()
        if self._stopped:
            raise _Stopped

    def pass_on(self, report: Callable[[dict[str, float]], None]) -> None:
        """Report the figures of an epoch, if any arrive within a moment."""
        try:
            figures = self._figures.get(timeout=_SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            return
        report(figures)
        self._decided.set()

    def stop(self) -> None:
        """Make the run end at its next message."""
        self._stopped = True
        self._decided.set()


def taken(allocation: Allocation, config: Config, wanted: int) -> tuple[Allocation, int]:
    """The share of each trial, and how many trials fit; half of the CPUs stay free for decoding."""
    there, workers = nodes.node_resources(), allocation.most_workers
    total = add_up(there).total
    cpus = total.get("CPU", 1.0)
    asked = (config.ray.resources_per_worker or {}).get("CPU")
    rooms = [cpus / (workers * (asked or 1.0))]
    rooms += [total.get("GPU", 0.0) / workers] if allocation.use_gpu else []
    places = max(min(math.floor(min(rooms) + 1e-9), wanted), 1)
    if asked is None:
        share, left = max(min(1.0, math.floor(500 * cpus / (places * workers)) / 1000), 0.001), 0.5
    else:
        share, left = asked, 0.0
        while (left := _left(there, places * workers, allocation)) < _LEAST_LEFT and places > 1:
            places -= 1
    alone = allocation.num_workers == 1
    return dataclasses.replace(
        allocation,
        in_driver=alone,
        one_machine=alone or allocation.one_machine,
        resources_per_worker={**allocation.resources_per_worker, "CPU": share},
        decode_cpus=max(min(0.5, round(left, 3)) - _OF_A_TRIAL * 10, 0.01),
    ), places


def _left(there: Sequence[Mapping[str, float]], workers: int, allocation: Allocation) -> float:
    """The CPUs that are left for decoding on at least one machine, whichever machines the workers are on."""
    return max(cpus_left(node, workers, allocation.resources_per_worker) for node in there)


def resources(share: Allocation) -> dict[str, float]:
    """The resources of a trial's process: the whole share if it trains by itself, hardly any if workers do."""
    return dict(share.resources_per_worker) if share.in_driver else {"CPU": _OF_A_TRIAL}


def in_words(share: Allocation) -> str:
    """The workers of a trial, in words."""
    kind = "GPU" if share.use_gpu else "CPU"
    return f"each with {share.most_workers} {kind} worker{'s' if share.most_workers > 1 else ''}"
