"""What batch normalization over all workers costs: steps of two CPU workers, against normalizing each worker's part."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch

from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.benchmarks.pairs import in_turn, options, row, table
from tests.keras_networks import resnet50
from tests.processes import on_workers

_STEPS = 3  # of each side in a turn


def main() -> None:
    """Measure steps of ResNet50 on images of 64 x 64, with batches of two sizes."""
    arguments = options(__doc__).parse_args()
    rows = []
    for batch_size in (8,) if arguments.quick else (16, 64):
        work = functools.partial(measure, batch_size, 1 if arguments.quick else arguments.pairs)
        measured = on_workers(work, 2, timeout=3600)[2][0]
        rows.append(row(f"ResNet50, 64 x 64, seconds of a step, batch {batch_size}", "local", measured, most=1.15))
    table("batch_norm", rows, "Batch normalization by the batch of two workers, and by each worker's part", arguments)


def measure(batch_size: int, pairs: int, workers: Workers) -> tuple[list[float], list[float]]:
    """Seconds of a step with global batch normalization, and with local one, in turn."""
    return in_turn(*(_steps(workers, batch_size, everywhere=everywhere) for everywhere in (True, False)), pairs)


def _steps(workers: Workers, batch_size: int, *, everywhere: bool) -> Callable[[], float]:
    """Seconds of a step, measured whenever it is called."""
    torch.manual_seed(0)
    network = build_network(resnet50(64)).train()
    optimizer = OPTIMIZERS["SGD"](network.parameters(), learning_rate=0.01, momentum=0.9)
    step = TrainingStep(network, LOSSES["NLL"](), optimizer, workers=workers, global_batch_norm=everywhere)
    images = torch.randint(0, 256, (batch_size // workers.size, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 1000, (len(images),))

    def run() -> float:
        workers.gather(None)  # begin together
        started = time.perf_counter()
        for _ in range(_STEPS):
            step(images, labels, batch_size)
        return (time.perf_counter() - started) / _STEPS

    return run
