"""How all workers of a training end before its last epoch, after the same batch, whichever of them has a reason."""

from __future__ import annotations

import torch

from rayrml.cluster.ray_internals import WorkersLeave
from rayrml.reporting.messages import Driver, Emit, Interrupted, Phase
from rayrml.training.preemption import Notice
from rayrml.training.wishes import Wishes
from rayrml.workers import Workers


class EarlyEnd:
    """One worker's part in ending early: the driver asks for it, or a worker is about to be lost.

    Args:
        workers: those that end together.
        driver: can ask this worker to stop.
        notice: whether this worker is about to be lost.
        emit: sends messages of the first worker.
    """

    def __init__(self, workers: Workers, driver: Driver, notice: Notice, emit: Emit):
        self._workers = workers
        self._driver = driver
        self._notice = notice
        self._emit = emit
        self._agreed = Wishes()

    def wishes(self, *, save: bool = False) -> Wishes:
        """What this worker wishes now, and whether it wishes to `save`."""
        leave = self._notice.find_reason() is not None
        return Wishes(stop=self._driver.asked_to_stop(), save=save, leave=leave)

    def agree(self, agreed: Wishes) -> bool:
        """Whether to end, by the wishes on which all workers have agreed."""
        self._agreed = agreed
        return agreed.ends

    def ask_all(self, device: torch.device) -> bool:
        """Whether any worker wishes to end; all workers must call it."""
        wishes = self.wishes()
        if self._workers.size > 1:
            counts = self._workers.sum(torch.tensor(wishes, dtype=torch.float32, device=device))
            wishes = Wishes(*(counts > 0).tolist())
        return self.agree(wishes)

    def finish(self, epoch: int, batch: int) -> None:
        """Report where training has ended, the state of which is kept; all workers must call it.

        Raises:
            WorkersLeave: a worker is about to be lost; in all workers, which Ray Train then starts again where there
                is room.
        """
        if self._agreed.stop:
            self._emit(Interrupted(epoch, batch))
            return
        # The first worker, which writes the state, joins when it is on disk.
        for rank, reason in enumerate(self._workers.gather(self._notice.find_reason())):
            if reason:
                self._emit(Phase(f"Worker {rank} {reason}: the state after batch {batch} of epoch {epoch} is kept"))
        raise WorkersLeave
