"""Writing predictions: rayrml's file against h5py's `create_dataset` for each sample."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayrml.inference.prediction_files import PredictionFile
from tests.benchmarks.pairs import agree, alone, in_turn, options, row, table

BATCH = 1_024


def main() -> None:
    """Measure 20,000 samples both ways, and a large file against a smaller one."""
    arguments = options(__doc__).parse_args()
    count = 5_000 if arguments.quick else 20_000
    small, large = (20_000, 200_000) if arguments.quick else (100_000, 1_000_000)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "ours.h5"
        other = Path(temporary) / "theirs.h5"
        faster = in_turn(lambda: by_hand(other, count), lambda: ours(path, count), arguments.pairs)
        with h5py.File(path) as first, h5py.File(other) as second:
            agree("datasets", _count(first), count)
            agree("datasets", _count(second), count)
            agree("numbers", float(first[_names(0, 1)[0]][()].sum()), float(second[_names(0, 1)[0]][()].sum()))
        bytes_a_sample = path.stat().st_size / count
        growth = in_turn(lambda: ours(path, large), lambda: ours(path, small), arguments.pairs)
        at_large = path.stat().st_size / small
    rows = [
        row(f"times faster, {count} samples", "create_dataset for each: ours", faster, least=2.5),
        alone("bytes of a (10,) sample", "", [bytes_a_sample, at_large], most=430),
        row(f"seconds a sample, {large} samples", f"{small} samples", growth, most=1.15),
    ]
    table("write_predictions", rows, "Writing predictions of 10 classes, seconds a sample", arguments)


def ours(path: Path, count: int) -> float:
    """Seconds a sample of rayrml's file, which is written to disk after each batch."""
    started = time.perf_counter()
    file = PredictionFile(path)
    _batches(count, file.write)
    file.close()
    return (time.perf_counter() - started) / count


def by_hand(path: Path, count: int) -> float:
    """Seconds a sample of one `create_dataset` each."""

    def write(names: list[str], outputs: np.ndarray) -> None:
        for name, output in zip(names, outputs, strict=True):
            file.create_dataset(name, data=output)

    started = time.perf_counter()
    with h5py.File(path, "w") as file:
        _batches(count, write)
    return (time.perf_counter() - started) / count


def _batches(count: int, write: Callable[[list[str], np.ndarray], Any]) -> None:
    for first in range(0, count, BATCH):
        names = _names(first, min(first + BATCH, count))
        write(names, np.full((len(names), 10), first, np.float32))


def _names(first: int, end: int) -> list[str]:
    return [f"{number % 10}/{number:07}.jpg" for number in range(first, end)]


def _count(file: h5py.File) -> int:
    return sum(len(group) for group in file.values())


if __name__ == "__main__":
    main()
