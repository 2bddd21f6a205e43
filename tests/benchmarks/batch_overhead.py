"""What a batch costs outside forward, backward and update: gathering, conversion, figures and log.

The network, the loss, `backward` and the optimizer are the real ones, each with a clock around it; what is left of the
epoch's time is the cost. It is measured in the same way in the loop written by hand.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.loops import HandWrittenLoop, RayrmlLoop, digits_network, planned
from tests.benchmarks.material import NETWORK, digit_files, digits, training
from tests.benchmarks.pairs import agree, alone, in_turn, options, table


def main() -> None:
    """Measure both loops with clocks, epoch by epoch: with the digits' network, and with one that does little."""
    arguments = options(__doc__).parse_args()
    count = 2_560 if arguments.quick else 12_800
    torch.set_num_threads(1)
    networks = {
        "the digits' network": (str(NETWORK), digits_network),
        "one dense layer, so that caches stay warm": (_DENSE, lambda _: _dense()),
    }
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = digit_files(Path(temporary) / "digits", count)
        for name, (layers, by_hand) in networks.items():
            plan, job = planned(training(folder, layers, preload=True, grayscale=True))
            theirs = HandWrittenLoop(by_hand(plan.network), digits(count))
            ours = RayrmlLoop(job, digits(count), Path(temporary) / "log.txt")
            measured = measure(ours, theirs, -(-count // 128), arguments.pairs)
            line = alone(f"cost of a batch, us: {name}", "the loop by hand has: theirs", measured[0], most=150)
            rows.append({**line, "theirs": statistics.median(measured[1])})
    table("batch_overhead", rows, "Microseconds a batch of 128x1x28x28 outside forward, backward and update", arguments)


def measure(ours: RayrmlLoop, theirs: HandWrittenLoop, batches: int, pairs: int) -> tuple[list[float], list[float]]:
    """Microseconds a batch outside the clocks, of both loops."""
    clock = _Clock()
    ours.step.loss = _ClockedLoss(ours.step.loss, clock)
    loss, backward = functional.nll_loss, torch.Tensor.backward
    functional.nll_loss, torch.Tensor.backward = clock.around(loss), clock.around(backward)
    for network, optimizer in ((ours.step.network, ours.step.optimizer), (theirs.network, theirs.optimizer)):
        network.forward = clock.around(network.forward)
        optimizer.step = clock.around(optimizer.step)
        optimizer.zero_grad = clock.around(optimizer.zero_grad)
    try:
        measured = in_turn(lambda: clock.rest(ours, batches), lambda: clock.rest(theirs, batches), pairs)
    finally:
        functional.nll_loss, torch.Tensor.backward = loss, backward
    agree("losses", ours.loss, theirs.loss, 0.15)
    return measured


_DENSE = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1], "name": "input"}},
    {"class_name": "Flatten", "config": {"name": "flatten"}},
    {"class_name": "Dense", "config": {"name": "dense", "units": 10, "activation": "log_softmax"}},
]


def _dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))


class _ClockedLoss:
    """A loss with all that it tells of itself."""

    def __init__(self, loss: Any, clock: _Clock):
        self._loss = loss
        self._call = clock.around(loss)

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self._call(output, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loss, name)


class _Clock:
    """Adds up the seconds in the functions that it is put around, those called by others of them once."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._running = False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function with the clock running."""

        def clocked(*arguments: Any, **options: Any) -> Any:
            if self._running:
                return function(*arguments, **options)
            self._running = True
            started = time.perf_counter()
            result = function(*arguments, **options)
            self._seconds += time.perf_counter() - started
            self._running = False
            return result

        return clocked

    def rest(self, loop: Callable[[], float], batches: int) -> float:
        """Microseconds a batch in which the clock did not run."""
        self._seconds = 0.0
        return 1e6 * (loop() - self._seconds) / batches


if __name__ == "__main__":
    main()
