"""Reading small JPEGs into memory: warm against plain processes, cold against `read_images`, and the memory it takes.

`read_images` is measured on a tenth of the files unless --full is given: once from cold and once more, and the seconds
of all are those of the first tenth and nine times those of the second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import simplejpeg
import torch

from rayrml.data.pipeline import Pipeline
from rayrml.training.feed import Feed
from rayrml.training.feeding import TRAINING, Feeder
from rayrml.workers import Workers
from tests.benchmarks.loops import planned
from tests.benchmarks.material import digit_files, photographs, small_network, training
from tests.benchmarks.pairs import agree, alone, cpus, environment, in_turn, options, row, table


def main() -> None:
    """Measure the three."""
    parser = options(__doc__)
    parser.add_argument("--full", action="store_true", help="give `read_images` all files (minutes)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, path = arguments.child
        print(json.dumps(_CHILDREN[name](Path(path))))
        return
    count = 6_000 if arguments.quick else 60_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_files(folder / "digits", count)
        rows = [
            cold(folder, count, arguments.pairs, full=arguments.full, warm=not arguments.quick),
            memory(folder, 6_000 if arguments.quick else 80_000, arguments.pairs),
            warm(folder / "digits", count, arguments.pairs),
        ]
    table("preload", rows, f"Preload of {count} JPEGs of 28x28, seconds", arguments)


def warm(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """rayrml's preload with Ray's processes warm, against as many plain processes that decode and add up pixels."""
    os.environ.update(environment())
    _start()
    _warm_up(folder)
    paths = sorted(map(str, folder.rglob("*.jpg")))
    parts = [paths[i :: cpus() * 4] for i in range(cpus() * 4)]
    sums: dict[str, int] = {}
    with multiprocessing.get_context("spawn").Pool(cpus()) as pool:

        def ours() -> float:
            started = time.perf_counter()
            feed = _preloaded(folder, grayscale=True)
            seconds = time.perf_counter() - started
            sums["ours"] = int(feed.parts[0].shard.inputs.sum())
            return seconds

        def theirs() -> float:
            started = time.perf_counter()
            sums["theirs"] = sum(pool.map(_decoded, parts, chunksize=1))
            return time.perf_counter() - started

        measured = in_turn(ours, theirs, pairs)
    ray.shutdown()
    agree("sums of pixels", sums["ours"], sums["theirs"])
    return row("preload, workers warm", f"decoding in {cpus()} plain processes", measured, most=2.0)


def cold(folder: Path, count: int, pairs: int, *, full: bool, warm: bool) -> dict[str, Any]:
    """From `ray.init` on, in new processes: listing to first batch against `read_images().materialize()`."""
    part = folder / "digits"
    if not full:
        part = folder / "part"
        for label in range(10):
            (part / str(label)).mkdir(parents=True)
        for path in sorted((folder / "digits").rglob("*.jpg"))[::10]:
            (part / path.relative_to(folder / "digits")).hardlink_to(path)

    def ours() -> float:
        result = _child("ours", folder / "digits")
        agree("samples", result["samples"], count)
        return result["seconds"]

    def theirs() -> float:
        result = _child("read_images", part)
        agree("samples", result["samples"], count if full else count // 10)
        return result["seconds"] if full else result["seconds"] + 9 * result["again"]

    measured = in_turn(theirs, ours, pairs, warm=warm)
    what = "times faster: first batch, cold"
    return row(what, f"read_images().materialize(){'' if full else ', from a tenth'}: ours", measured, least=8.0)


def memory(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """The peak of the training process's own memory with `count` images of 64x64 (80,000: 1 GB)."""
    photographs(folder / "photographs", count, (64, 64), 1_000)
    found = [_child("memory", folder / "photographs") for _ in range(pairs)]
    shard = found[0]["shard"] / 1e9
    peaks = [each["own"] / 1e9 for each in found]
    shared = max(each["resident"] for each in found) / 1e9
    line = alone("GB of a worker", f"shard {shard:.2f} GB x 1.3 + 0.6", peaks, most=round(1.3 * shard + 0.6, 2))
    return {**line, "theirs": f"(with pages of Ray's store: {shared:.3g})"}


def _preloaded(folder: Path, layers: Any = None, **keys: Any) -> Feed:
    config = training(folder, *([] if layers is None else [layers]), preload=True, **keys)
    _, job = planned(config)
    feeder = Feeder(job, Workers(), torch.device("cpu"), lambda message: None)
    return feeder.feed(job.datasets.training, TRAINING)


def _warm_up(folder: Path) -> None:
    """Let Ray's processes import what tasks need: a lone process that has seen no task run decodes little itself."""
    _, job = planned(training(folder, preload=True, grayscale=True))
    for _ in Pipeline(decode_cpus=1.0).decode(job.datasets.training, np.arange(1_000), at_once=True):
        pass


def _decoded(paths: list[str]) -> int:
    """Sum of the pixels of all images, which lie in one array as they do for training."""
    images = np.empty((len(paths), 28, 28, 1), np.uint8)
    for image, path in zip(images, paths, strict=True):
        file = os.open(path, os.O_RDONLY)
        image[...] = simplejpeg.decode_jpeg(os.read(file, os.fstat(file).st_size), colorspace="GRAY")
        os.close(file)
    return int(images.sum(dtype=np.int64))


def _child(name: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.preload", "--child", name, str(path)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _start() -> None:
    from rayrml.cluster.connection import hide_messages

    hide_messages()
    ray.init(num_cpus=cpus(), log_to_driver=False, logging_level="error", include_dashboard=False)


def _first_batch(folder: Path) -> dict[str, Any]:
    _start()
    started = time.perf_counter()
    feed = _preloaded(folder, grayscale=True)
    next(iter(feed.batches(128, 1)))
    return {"seconds": time.perf_counter() - started, "samples": len(feed.source.samples)}


def _read_images(folder: Path) -> dict[str, Any]:
    _start()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        images = ray.data.read_images(str(folder), mode="L", include_paths=True).materialize()
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds[0], "again": seconds[1], "samples": images.count()}


def _memory(folder: Path) -> dict[str, Any]:
    _start()
    peaks = {"own": 0, "resident": 0}
    done = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not done.wait(0.05):
            now = process.memory_info()
            peaks["own"] = max(peaks["own"], now.rss - now.shared)
            peaks["resident"] = max(peaks["resident"], now.rss)

    thread = threading.Thread(target=watch)
    thread.start()
    feed = _preloaded(folder, small_network(64))
    for batch in itertools.islice(feed.batches(64, 1), 20):
        batch.input.sum()
    done.set()
    thread.join()
    return {**peaks, "shard": feed.parts[0].shard.inputs.nbytes}


_CHILDREN = {"ours": _first_batch, "read_images": _read_images, "memory": _memory}

if __name__ == "__main__":
    main()
