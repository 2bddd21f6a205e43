"""What grows with a cluster and its data: rayrml's own code against made lists of workers, nodes, names and classes.

Simulated: nodes, names, workers that ask. Run: all code that sorts, labels, divides, packs, orders and counts them, and
a mailbox on a small Ray. Not in it: decoding, networks, and what Ray itself does. Times are those of CPUs.
"""

from __future__ import annotations

import argparse
import json
import mmap
import multiprocessing
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from tests.benchmarks.pairs import agree, alone, environment
from tests.benchmarks.report import write

WORKERS = (8, 64, 512, 1024)
CLASSES_OF = {10**4: 10, 10**5: 100, 10**6: 1_000, 10**7: 40_000}  # by samples
CLASSES = (10, 1_000, 10_000, 21_841, 40_000)
WORKERS_OF_NODE = 8
NODE = {"CPU": 96.0, "GPU": 8.0, "object_store_memory": 200e9}
SHAPE = (3, 224, 224)
SECONDS_OF_SAMPLE = 0.005  # of a CPU, to decode a photograph
SAMPLES_OF_WORKER = 32  # in a batch
SHARE = 0.1  # of the samples are for the test
SECONDS_OF_ASKING = 10.0


class Question(NamedTuple):
    """What one process of its own measures.

    Attributes:
        kind: a key of `ANSWERS`.
        samples: how many.
        classes: how many.
        workers: how many there are at once, or one number after the other.
        folder: where the driver leaves the job for the workers.
    """

    kind: str
    samples: int = 0
    classes: int = 0
    workers: tuple[int, ...] = ()
    folder: str = ""


def names_of(num_samples: int, num_classes: int) -> list[str]:
    """Names as ImageNet has them, sorted."""
    sizes = np.diff(np.linspace(0, num_samples, num_classes + 1).astype(int)).tolist()
    return [f"n{kind:08}/n{kind:08}_{i:07}.JPEG" for kind, size in enumerate(sizes) for i in range(size)]


def nodes_of(num_workers: int) -> list[dict[str, Any]]:
    """The nodes of a cluster, as Ray lists them."""
    return [{"Alive": True, "Resources": NODE}] * -(-num_workers // WORKERS_OF_NODE)


def source_of(samples: Any) -> Any:
    """Photographs."""
    from rayrml.config.tables import choose
    from rayrml.data.decoding import Decoding
    from rayrml.data.readers import READERS
    from rayrml.data.sources import Side, Source

    decoding = Decoding(choose(READERS, {"type": "images"}, ""), SHAPE, np.dtype("u1"), samples.path(0))
    return Source(Side(samples, decoding), None, "training")


class Watch:
    """CPU seconds and memory of this process since it began."""

    def __init__(self) -> None:
        self._rss, self._own = psutil.Process().memory_info().rss, _own_bytes()
        self._started = time.process_time()

    def seconds(self) -> float:
        """CPU seconds."""
        return time.process_time() - self._started

    def peak(self) -> float:
        """The most memory in MB."""
        return (1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._rss) / 1e6

    def kept(self) -> float:
        """The memory in MB that is now this process's own, without what processes of a machine share."""
        return (_own_bytes() - self._own) / 1e6


def _own_bytes() -> int:
    lines = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return 1024 * sum(int(line[1]) for line in lines if line[0] == "Anonymous:")


# What a driver does before its workers begin


def plan(question: Question) -> dict[str, Any]:
    """Sort and keep names, label them, divide them, look for what is in both parts, and describe it to workers."""
    from rayrml.data.datasets import Datasets
    from rayrml.data.discovery import Samples, label_by_folder, select_part
    from rayrml.data.names import Names
    from rayrml.data.transforms import split_transforms
    from rayrml.planning.class_balance import count_classes
    from rayrml.planning.shared_samples import warn_of_shared

    watch = Watch()
    names = names_of(question.samples, question.classes)
    made = watch.seconds()
    names.sort()
    folders = ["", *(f"n{kind:08}" for kind in range(question.classes))]
    found = Samples("/data/train", Names.of(names), folders=folders)
    del names
    found = label_by_folder(found, None, "")
    parts = [source_of(found.only(select_part(found, SHARE, test=test))) for test in (False, True)]
    training = parts[0]
    datasets = Datasets(*parts, split_transforms(()), found.classes, (SHAPE,), ((),), True)
    agree("samples", sum(len(part.samples) for part in parts), question.samples)
    list(warn_of_shared(datasets, divided=True))
    count_classes(training, len(found.classes))
    buffers: list[pickle.PickleBuffer] = []
    own = pickle.dumps(training, protocol=5, buffer_callback=buffers.append)
    figures = {"driver (s)": watch.seconds() - made, "driver, peak (MB)": watch.peak()}
    leave(Path(question.folder), own, buffers)
    shared = sum(buffer.raw().nbytes for buffer in buffers)
    return figures | {"job (MB)": len(own) / 1e6, "shared a node (MB)": shared / 1e6}


def leave(folder: Path, own: bytes, buffers: Iterable[pickle.PickleBuffer]) -> None:
    """Write a job as Ray's object store has it: what each process copies, and what processes share."""
    folder.joinpath("own").write_bytes(own)
    for number, buffer in enumerate(buffers):
        folder.joinpath(f"{number}.shared").write_bytes(buffer.raw())


def take(folder: Path) -> Any:
    """The job that the driver has left."""
    shared = []
    for path in sorted(folder.glob("*.shared"), key=lambda path: int(path.stem)):
        with path.open("rb") as file:
            shared.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return pickle.loads(folder.joinpath("own").read_bytes(), buffers=shared)


# What a worker does before its first batch


def begin(question: Question) -> list[dict[str, Any]]:
    """A worker's figures, for each number of workers in a process of its own."""
    import rayrml.data.task_sizes
    import rayrml.training.sample_order  # noqa: F401 (before the processes are forked)

    forking = multiprocessing.get_context("fork")
    rows = []
    for count in question.workers:
        receiving, sending = forking.Pipe(duplex=False)
        process = forking.Process(target=_send, args=(sending, question, count))
        process.start()
        rows.append(receiving.recv())
        process.join()
    return rows


def _send(pipe: Any, question: Question, num_workers: int) -> None:
    streams = begin_streamed(take(Path(question.folder)), num_workers)
    preloads = begin_preloaded(take(Path(question.folder)), num_workers)
    of = {"workers": num_workers, "samples": question.samples, "classes": question.classes}
    pipe.send(of | streams | preloads)


def begin_streamed(source: Any, num_workers: int) -> dict[str, Any]:
    """Order the samples of an epoch, describe the first tasks, and order the next epoch, as the first worker does."""
    from rayrml.data.decode_tasks import make_task
    from rayrml.data.shards import StreamedShard
    from rayrml.data.task_sizes import divide_cluster, sizes_in_order, windows
    from rayrml.workers import Workers

    watch, workers = Watch(), Workers(0, num_workers)
    portion = divide_cluster(nodes_of(num_workers), num_workers)
    indices = source.groups()[0].indices
    shard = StreamedShard(_read_nothing, indices, workers=workers, seed=(0, 0), num_epochs=2)
    picks = shard._order(1)
    count = len(picks.samples)
    agree("samples of a worker", count, sum(workers.batch_sizes(len(indices), num_workers * SAMPLES_OF_WORKER)))

    def divided() -> Iterator[list[tuple[int, int]]]:
        sizes = sizes_in_order(count, SECONDS_OF_SAMPLE, portion, **_limits(source, portion, SAMPLES_OF_WORKER))
        return windows(count, sizes, portion.first_window)

    first = [make_task(source, picks.at(slice(*task)), task[0], None) for task in next(divided())]
    seconds = watch.seconds()
    following = shard._order(2)
    own = watch.kept()
    agree("samples of the next epoch", len(following.samples), count)
    tasks = [end - begin for window in divided() for begin, end in window]
    return {
        "worker, streamed (s)": seconds,
        "worker (MB)": own,
        "first tasks": len(first),
        "tasks a pass": num_workers * len(tasks),
        "task (s)": SECONDS_OF_SAMPLE * float(np.median(tasks)),
        "store claimed a node (GB)": min(num_workers, WORKERS_OF_NODE) * portion.ahead_bytes / 1e9,
    }


def begin_preloaded(source: Any, num_workers: int) -> dict[str, Any]:
    """Deal the samples out, and describe all tasks, as the first worker does."""
    from rayrml.data.decode_tasks import make_task
    from rayrml.data.places import deal_places
    from rayrml.data.sampling import Picks
    from rayrml.data.task_sizes import divide_cluster, sizes_at_once, windows
    from rayrml.training.sample_order import deal_out
    from rayrml.workers import Workers

    watch, workers = Watch(), Workers(0, num_workers)
    portion = divide_cluster(nodes_of(num_workers), num_workers)
    order = deal_out(source.groups()[0], (0, 0), shuffles=True, balances=False)
    picks = Picks.once(order[workers.keeps(deal_places(len(order), num_workers * SAMPLES_OF_WORKER))])
    sizes = sizes_at_once(len(picks.samples), SECONDS_OF_SAMPLE, portion, **_limits(source, portion, 1))
    divided = [task for window in windows(len(picks.samples), sizes) for task in window]
    tasks = [make_task(source, picks.at(slice(*task)), task[0], None) for task in divided]
    return {"worker, preloaded (s)": watch.seconds(), "tasks to preload": num_workers * len(tasks)}


def _limits(source: Any, portion: Any, smallest: int) -> dict[str, int]:
    from rayrml.data.task_sizes import block_size

    return {"smallest": smallest, "most": block_size(source.bytes_per_sample, smallest, portion)}


def _read_nothing(picks: Any, epoch: int | None) -> Iterator[tuple[np.ndarray, ...]]:
    yield from ()


# What grows with the classes


def count(question: Question) -> dict[str, Any]:
    """Label five files of each class by their folders, and count a batch for F1."""
    import torch

    from rayrml.data.discovery import Samples, label_by_folder
    from rayrml.metrics import METRICS

    names = names_of(5 * question.classes, question.classes)
    found = Samples("/data", names, folders=["", *(f"n{kind:08}" for kind in range(question.classes))])
    watch = Watch()
    agree("classes", len(label_by_folder(found, None, "").classes), question.classes)
    labelling = watch.seconds()
    output, target = torch.rand(256, question.classes), torch.randint(question.classes, (256,))
    metric = METRICS["f1"]()
    metric.sums(output[:2], target[:2])
    watch = Watch()
    sums = metric.sums(output, target)
    counting = watch.seconds()
    metric.value(sums)
    return {
        "classes": question.classes,
        "labelling 5 files each (s)": labelling,
        "F1 of a batch (ms)": 1e3 * counting,
        "F1, floats that workers add up": sums.numel(),
    }


# What one mailbox is asked and told


def ask(question: Question) -> list[dict[str, Any]]:
    """Have a mailbox on a small Ray asked by so many workers, of which one trains and reports; then ask all to stop."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return [_ask(count) for count in question.workers]


def _ask(num_workers: int) -> dict[str, Any]:
    import ray

    from rayrml.reporting.messages import BatchesTrained
    from rayrml.training.mailbox import Connection, Mailbox

    class Counting(Mailbox):
        """Knows how often it was asked and told."""

        def __init__(self) -> None:
            super().__init__()
            self.asked = self.told = 0

        def heard(self) -> Any:
            self.asked += 1
            return super().heard()

        def put(self, *message: Any) -> None:
            self.told += 1
            super().put(*message)

        def counts(self) -> tuple[int, int]:
            return self.asked, self.told

    remote: Any = ray.remote(Counting)
    mailbox = remote.options(num_cpus=0).remote()
    workers = [Connection(mailbox, listens=rank == 0) for rank in range(num_workers)]
    ray.get(mailbox.arrived.remote())
    before, began = ray.get(mailbox.counts.remote()), time.monotonic()
    reported = 0.0
    while (now := time.monotonic()) < began + SECONDS_OF_ASKING:
        for worker in workers:
            worker.asked_to_stop()
        if now - reported > 0.25:
            workers[0].emit(BatchesTrained([], 0, 0, 0.0))
            reported = now
        ray.get(mailbox.take.remote())
        time.sleep(0.02)
    counts, took = ray.get(mailbox.counts.remote()), time.monotonic() - began
    asking = time.monotonic()
    ray.get(mailbox.take.remote(wish=True))
    while not workers[0].asked_to_stop():
        time.sleep(0.005)
    heard = time.monotonic() - asking
    ray.kill(mailbox)
    asked, told = ((after - earlier) / took for after, earlier in zip(counts, before, strict=True))
    return {"workers": num_workers, "questions/s": asked, "reports/s": told, "until a stop is heard (s)": heard}


# All of it


ANSWERS: dict[str, Callable[[Question], Any]] = {"plan": plan, "begin": begin, "count": count, "ask": ask}


def answered(question: Question) -> Any:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--child", json.dumps(question)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def of_clusters(workers: tuple[int, ...], sizes: dict[int, int]) -> list[dict[str, Any]]:
    """A row for each number of samples and of workers."""
    rows: list[dict[str, Any]] = []
    for samples, classes in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            plan = answered(Question("plan", samples, classes, folder=folder))
            rows += [row | plan for row in answered(Question("begin", samples, classes, workers, folder))]
    return rows


def main() -> None:
    """Measure in other processes; then the tables, and what must hold at any size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--pairs", type=int, help="of no use here: nothing is compared in turn")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        question = Question(*arguments.child)
        print(json.dumps(ANSWERS[question.kind](question)))
        return
    workers = WORKERS[:2] if arguments.quick else WORKERS
    classes = CLASSES[:2] if arguments.quick else CLASSES
    clusters = of_clusters(workers, dict(list(CLASSES_OF.items())[: len(workers)]))
    header = f"Simulated: {WORKERS_OF_NODE} workers a node of {NODE['CPU']:g} CPUs, images of {SECONDS_OF_SAMPLE} s"
    write("scaling_clusters", clusters, header)
    counted = [answered(Question("count", classes=number)) for number in classes]
    write("scaling_classes", counted, "By classes")
    messages = answered(Question("ask", workers=workers))
    write("scaling_messages", messages, "A mailbox of a training")
    write("scaling", bars(clusters, counted, messages), "What must hold at any size: the largest figure of all")


def bars(clusters: list[dict], counted: list[dict], messages: list[dict]) -> list[dict[str, Any]]:
    """The largest figures and what they must be."""

    def most(rows: list[dict], key: str, what: str, limit: float) -> dict[str, Any]:
        return alone(what, "", [max(float(row[key]) for row in rows)], most=limit)

    store = NODE["object_store_memory"] / 1e9
    return [
        most(clusters, "worker, streamed (s)", "seconds of a worker to its first tasks", 2.0),
        most(clusters, "task (s)", "seconds of a decoding task", 1.0),
        most(clusters, "store claimed a node (GB)", f"GB of a node's store of {store:g} GB", store / 2),
        most(counted, "labelling 5 files each (s)", "seconds to label by folder", 1.0),
        most(counted, "F1 of a batch (ms)", "ms of F1 for a batch", 50.0),
        most(messages, "questions/s", "questions to the mailbox a second", 10.0),
    ]


if __name__ == "__main__":
    main()
