"""What a training shows beside its figures: nothing, unless an application has more to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np

from rayrml.data.sources import Source
from rayrml.inference.each_sample import Prepared
from rayrml.networks.network import Network
from rayrml.reporting.messages import Emit
from rayrml.training.job import Job
from rayrml.workers import Workers

Read = Callable[[Source, np.ndarray], Iterator[Prepared]]


class Watch:
    """Watches a training.

    Args:
        job: of the training.
        network: that is evaluated and kept, on its device.
        workers: those that train it.
        emit: what is said by the first worker.
    """

    def __init__(self, job: Job, network: Network, workers: Workers, emit: Emit):
        self.job = job
        self.network = network
        self.workers = workers
        self.emit = emit

    def begin(self, read: Read) -> None:
        """Do what comes before the first batch; all workers must call it.

        Args:
            read: source, numbers of some of its samples -> this worker's part of each batch of these, as evaluated.
        """

    def after_epoch(self, epoch: int, evaluated: Callable[[], AbstractContextManager[None]]) -> None:
        """Do what comes after an epoch.

        Args:
            epoch: from 1.
            evaluated: makes a block in which the network has the weights that are evaluated and kept.
        """
