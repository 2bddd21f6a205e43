"""Training on digits in memory: rayrml's epochs against a loop written by hand, one worker and two."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.loops import HandWrittenLoop, RayrmlLoop, digits_network, planned
from tests.benchmarks.material import digit_files, digits, training
from tests.benchmarks.pairs import agree, in_turn, options, row, table


def main() -> None:
    """Measure one worker in this process, then two workers in processes of their own."""
    arguments = options(__doc__).parse_args()
    count = 2_560 if arguments.quick else 12_800
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_files(folder / "digits", count)
        rows = [one_worker(folder, count, arguments.pairs), two_workers(folder, count, arguments.pairs)]
    table("train_resident", rows, "Training images/s, preloaded digits, batch 128", arguments)


def one_worker(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """Both loops in this process, epoch by epoch, with one thread."""
    torch.set_num_threads(1)
    plan, job = planned(training(folder / "digits", preload=True, grayscale=True))
    theirs = HandWrittenLoop(digits_network(plan.network), digits(count))
    ours = RayrmlLoop(job, digits(count), folder / "log.txt")
    measured = in_turn(lambda: count / ours(), lambda: count / theirs(), pairs)
    agree("losses", ours.loss, theirs.loss, 0.1)
    lines = (folder / "log_train.txt").read_text().splitlines()
    agree("lines of the log and the batches", len(lines), (pairs + 1) * -(-count // 128))
    return row("1 worker, 1 thread", "loop by hand, 1 thread", measured, least=1.0)


def two_workers(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """Two workers with one thread each against one process with two, all in processes of their own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    together = [_Remote(_rayrml_worker, folder, count, rank) for rank in range(2)]
    alone = _Remote(_by_hand, folder, count, 0)

    def ours() -> float:
        for each in together:
            each.begin()
        return count / max(each.seconds() for each in together)

    def theirs() -> float:
        alone.begin()
        return count / alone.seconds()

    measured = in_turn(ours, theirs, pairs)
    agree("losses", together[0].loss, alone.loss, 0.1)
    for each in (*together, alone):
        each.end()
    return row("2 workers x 1 thread", "loop by hand, 2 threads", measured, least=1.0)


class _Remote:
    """A training loop in another process, which trains an epoch each time it is told to."""

    def __init__(self, target: Any, *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=target, args=(*arguments, other), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process ends waiting for it
        self.loss = float("nan")

    def begin(self) -> None:
        self._connection.send(True)

    def seconds(self) -> float:
        seconds, self.loss = self._connection.recv()
        return seconds

    def end(self) -> None:
        self._connection.send(False)
        self._process.join()


def _rayrml_worker(folder: Path, count: int, rank: int, connection: Connection) -> None:
    from rayrml.workers import Workers

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    _, job = planned(training(folder / "digits", preload=True, grayscale=True))
    loop = RayrmlLoop(job, digits(count), folder / "log_2.txt" if rank == 0 else None, Workers(rank, 2))
    _serve(loop, connection)
    torch.distributed.destroy_process_group()


def _by_hand(folder: Path, count: int, _: int, connection: Connection) -> None:
    torch.set_num_threads(2)
    plan, _ = planned(training(folder / "digits", preload=True, grayscale=True))
    _serve(HandWrittenLoop(digits_network(plan.network), digits(count)), connection)


def _serve(loop: Any, connection: Connection) -> None:
    while connection.recv():
        connection.send((loop(), loop.loss))


if __name__ == "__main__":
    main()
