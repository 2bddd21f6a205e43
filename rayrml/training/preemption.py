"""Notices that a worker is about to be lost: SIGTERM to its process, or its node is to be taken away.

Clouds, Slurm and Kubernetes give notice before they take a machine away, often only 30 seconds.
"""

from __future__ import annotations

from rayrml.cluster import ray_internals
from rayrml.training.termination import TERMINATION


class Notice:
    """Whether a worker is about to be lost: never if it is the driver's own process."""

    def find_reason(self) -> str | None:
        """Why the worker is about to be lost, None if it is not."""
        return None


class RayNotice(Notice):
    """Whether the worker of this process, which Ray Train has started, is about to be lost.

    Args:
        rank: of the worker.
    """

    def __init__(self, rank: int):
        self._rank = rank

    def find_reason(self) -> str | None:
        """Why the worker is about to be lost, None if it is not."""
        if TERMINATION.is_received():
            return "received SIGTERM"
        if self._rank in ray_internals.list_preempted_workers():
            return "is on a node that is to be taken away"
        return None
