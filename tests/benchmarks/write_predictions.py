"""Writing predictions: rayrml's file against h5py's `create_dataset` for each sample, and shards against one writer."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rayrml.inference.prediction_files import Destination, PredictionFile
from rayrml.inference.prediction_reading import read_outputs
from rayrml.inference.prediction_shards import ShardWriter
from rayrml.inference.shard_folder import ATTRIBUTE, ShardFolder, in_order_of_file, write_index
from rayrml.saving.run_lock import locked
from tests.benchmarks.pairs import agree, alone, in_turn, options, row, table

BATCH = 1_024
TASK = 5_000  # samples of a shard
TOKEN = "0" * 8
WRITERS = (1, 2, 4)


def main() -> None:
    """Measure 20,000 samples both ways, a large file against a smaller one, and shards by several processes."""
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
    rows += [found for writers in WRITERS for found in shards(writers, small, arguments.pairs)]
    table("write_predictions", rows, "Writing predictions of 10 classes, seconds a sample", arguments)


def ours(path: Path, count: int) -> float:
    """Seconds a sample of rayrml's file, which is written to disk after each batch."""
    started = time.perf_counter()
    file = PredictionFile(path)
    _batches(count, file.write)
    file.close()
    return (time.perf_counter() - started) / count


def shards(writers: int, count: int, pairs: int) -> list[dict[str, Any]]:
    """The rates of so many processes whose shards are merged or kept, against one writer that gets all outputs."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary, multiprocessing.get_context("forkserver").Pool(writers) as pool:
        folder = ShardFolder(str(Path(temporary) / "output_1.h5"))
        tasks = [(folder, first, min(first + TASK, count)) for first in range(0, count, TASK)]
        one = Path(temporary) / "one.h5"

        def in_shards(finish: Callable[[ShardFolder, Iterable[tuple[str, list[str]]]], None]) -> float:
            started = time.perf_counter()
            with locked(folder.path, print):
                finish(folder, pool.imap_unordered(_write_shard, tasks))
            return count / (time.perf_counter() - started)

        for what, finish in (("merged", _merge), ("kept", _keep)):
            measured = in_turn(lambda end=finish: in_shards(end), lambda: 1 / ours(one, count), pairs)
            agree("samples", sum(1 for _ in read_outputs(folder.target)), count)
            processes = "1 process" if writers == 1 else f"{writers} processes"
            rows.append(row(f"samples/s, {processes}, shards {what}", "one writer", measured))
    return rows


def _write_shard(task: tuple[ShardFolder, int, int]) -> tuple[str, list[str]]:
    """Write a shard as an actor does, and return its name and those of its samples."""
    folder, first, end = task
    names = _names(0, end)
    writer = ShardWriter(Destination(names, folder.target), folder, TOKEN, np.arange(first, end))
    places = [np.arange(begin, min(begin + BATCH, end - first)) for begin in range(0, end - first, BATCH)]
    parts = [
        {
            "place": place,
            "output": np.full((len(place), 10), first, np.float32),
            "error": np.full(len(place), "", object),
        }
        for place in places
    ]
    *_, last = writer.write(parts)
    return last["shard"][0], names[first:]


def _merge(folder: ShardFolder, done: Iterable[tuple[str, list[str]]]) -> None:
    """Copy each shard into the file as soon as it is complete."""
    file = PredictionFile(folder.target)
    for shard, names in done:
        file.copy(folder.shard(shard), names)
    file.close()


def _keep(folder: ShardFolder, done: Iterable[tuple[str, list[str]]]) -> None:
    """Write the index of the shards and the file of links."""
    shard_of = {name: shard for shard, names in done for name in names}
    names = in_order_of_file(shard_of)
    write_index(folder.index, ((name, shard_of[name]) for name in names))
    file = PredictionFile(folder.target)
    file.describe(ATTRIBUTE, TOKEN)
    for name in names:
        file.link(name, f"{folder.name}/{shard_of[name]}")
    file.close()


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
