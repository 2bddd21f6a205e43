"""The model of the final test: the best one of a run, as far as it was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from rayrml.reporting.history import find_best
from rayrml.saving import checkpoint_folder, checkpoints
from rayrml.training.job import Job
from rayrml.workers import Workers


def best_weights(
    job: Job, workers: Workers, history: Sequence[Mapping[str, float]]
) -> tuple[Mapping[str, torch.Tensor] | None, int]:
    """The weights of the best epoch and its number; None and the last epoch if that is the best, or no other was kept.

    The first worker reads them for all: its files need not be there on other machines.
    """
    last, top, folder = int(history[-1]["epoch"]), find_best(history), job.config.checkpoints.save
    if top is None or folder is None or int(top["epoch"]) == last:
        return None, last

    def find() -> tuple[Mapping[str, torch.Tensor] | None, int]:
        best = checkpoints.load_if_exists(checkpoint_folder.best_path(folder))
        # A folder may hold the best model of another run.
        if best is None or best.history[-1:] != [top]:
            return None, last
        return best.network, best.epoch

    return workers.ask_first(find)
