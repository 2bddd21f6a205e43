"""Images/s that are read and decoded from packed folders and tar files, against the folder of files itself.

The decoding tasks' own work is done in this process, 128 images at a time: shuffled, as in training, or in the order of
their names, as in evaluation. The store is a server on this machine, which answers in a fraction of the milliseconds
that a real one takes; its requests are counted by what they cost.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from rayrml.data import packing
from rayrml.data.decode_tasks import decode_now
from rayrml.data.discovery import Samples
from rayrml.data.readers import READERS
from rayrml.data.sampling import Picks
from rayrml.data.sources import Source
from rayrml.storage.pack_writing import ROW_GROUP_BYTES
from tests.benchmarks.loops import planned
from tests.benchmarks.material import photographs, small_network, training
from tests.benchmarks.pairs import agree, in_turn, options, row, table
from tests.storage.object_store import served

SIZE, TASK = 224, 128


def main() -> None:
    """Measure both places."""
    arguments = options(__doc__).parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}  # of the server
    count, in_store = (256, 128) if arguments.quick else (4_000, 512)
    with tempfile.TemporaryDirectory() as temporary:
        rows = on_disk(Path(temporary) / "disk", count, arguments.pairs)
        with served() as store:
            rows += _in_store(Path(temporary) / "store", in_store, arguments.pairs, store)
    table("shards", rows, f"Images of {SIZE}x{SIZE} per second, read and decoded", arguments)


def on_disk(folder: Path, count: int, pairs: int) -> list[dict[str, Any]]:
    """Shards against files on this machine, and the range of an image against its row group."""
    photographs(folder / "files", count, (SIZE, SIZE), distinct=count)
    packing.pack(str(folder / "files"), str(folder / "packed"), shard_bytes=2**24, say=lambda done, total: None)
    _write_tars(folder / "files", folder / "tars", 500)
    sources = {name: _source(str(folder / name)) for name in ("files", "packed", "tars")}
    order = np.random.default_rng(0).permutation(count)
    rows = [
        row(f"{name}, shuffled", "files", _compared(sources[name], sources["files"], order, pairs), least=0.9)
        for name in ("packed", "tars")
    ]
    few = order[: max(count // 40, 8)]
    measured = in_turn(lambda: _pace(sources["packed"], few), lambda: _by_row_groups(sources["packed"], few), pairs)
    return [*rows, row("packed, shuffled", f"whole row groups of {ROW_GROUP_BYTES >> 20} MiB", measured, least=2.0)]


def _in_store(folder: Path, count: int, pairs: int, store: Any) -> list[dict[str, Any]]:
    """Shards against files in an object store."""
    photographs(folder, count, (SIZE, SIZE), distinct=count)
    for path in folder.rglob("*.jpg"):
        store.write(f"files/{path.relative_to(folder)}", path.read_bytes())
    packing.pack(str(folder), store.uri("packed"), shard_bytes=2**23, say=lambda done, total: None)
    files, packed = (_source(store.uri(name)) for name in ("files", "packed"))
    orders = {"shuffled": np.random.default_rng(0).permutation(count), "in order": np.arange(count)}
    return [
        row(f"store: packed, {name}", "store: files", _compared(packed, files, order, pairs), least=1.5)
        for name, order in orders.items()
    ]


def _compared(source: Source, other: Source, order: np.ndarray, pairs: int) -> tuple[list[float], list[float]]:
    agree("pixels", _sum(source, order), _sum(other, order))
    return in_turn(lambda: _pace(source, order), lambda: _pace(other, order), pairs)


def _source(path: str) -> Source:
    config = training(Path("folder"), small_network(SIZE))
    config["neural_network"]["data"]["input_path"] = path
    source = planned(config)[1].datasets.training
    agree("classes", len(source.samples.classes), 10)
    return source


def _tasks(source: Source, order: np.ndarray) -> Iterable[np.ndarray]:
    for begin in range(0, len(order), TASK):
        part = order[begin : begin + TASK]
        decoded = decode_now(source, Picks(part, part))
        agree("errors", sum(map(bool, decoded.errors)), 0)
        yield decoded.inputs


def _pace(source: Source, order: np.ndarray) -> float:
    started = time.perf_counter()
    for _ in _tasks(source, order):
        pass
    return len(order) / (time.perf_counter() - started)


def _sum(source: Source, order: np.ndarray) -> int:
    return sum(int(images.sum(dtype=np.int64)) for images in _tasks(source, order))


def _by_row_groups(source: Source, order: np.ndarray) -> float:
    """The pace if the row group of each image is read, as readers of tables do."""
    samples: Samples = source.samples
    read = READERS["images"]().read
    started = time.perf_counter()
    for index in order.tolist():
        path = samples.path(index)
        with parquet.ParquetFile(path.partition("/@")[0]) as file:
            begin = int(path.partition("/@")[2].partition("+")[0])
            starts = [file.metadata.row_group(g).column(3).data_page_offset for g in range(file.num_row_groups)]
            file.read_row_group(int(np.searchsorted(starts, begin)) - 1, columns=["bytes"])
        assert read is not None
        read(path)
    return len(order) / (time.perf_counter() - started)


def _write_tars(folder: Path, out: Path, files: int) -> None:
    out.mkdir()
    paths = sorted(folder.rglob("*.jpg"))
    for number, begin in enumerate(range(0, len(paths), files)):
        with tarfile.open(out / f"{number:04}.tar", "w") as archive:
            for path in paths[begin : begin + files]:
                archive.add(path, str(path.relative_to(folder)))


if __name__ == "__main__":
    main()
