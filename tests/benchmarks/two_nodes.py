"""Two hundred thousand images on two nodes with small object stores: kept, streamed and predicted in little memory.

Both nodes are on this machine, each with a raylet, one CPU and an object store of 100 MB, less than the images take.
"""

from __future__ import annotations

import contextlib
import csv
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.material import digits, training, write_config
from tests.benchmarks.pairs import agree, alone, options, table
from tests.clusters import Cluster, Command
from tests.conftest import write_jpeg

NODE = {"CPU": 1, "place": 1}
WORKERS = {"num_workers": 2, "resources_per_worker": {"CPU": 0.4, "place": 1}}  # one on each node
CLASSES, DISTINCT, BATCH = 10, 40, 500
SECONDS = 3600  # for a command
# MB of the driver and of any other process. For predictions, which the driver writes, HDF5 keeps up to 0.9 GB.
DRIVER, WRITING_DRIVER, OTHERS = 800, 1600, 900
NETWORK = [
    {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1], "name": "input"}},
    {"class_name": "Flatten", "config": {"name": "flatten"}},
    {"class_name": "Dense", "config": {"name": "dense", "units": CLASSES, "activation": "log_softmax"}},
]


class Watch:
    """The processes of a cluster and a command, looked at several times a second while the command runs.

    Attributes:
        driver: the most memory in MB that the command had for itself, without what it shares.
        workers: the same of any process that Ray started for it.
        spilled: the files to which object stores were spilled.
    """

    def __init__(self, cluster: Cluster, command: Command):
        self.driver = self.workers = 0.0
        self.spilled: set[Path] = set()
        self._cluster = cluster
        self._command = psutil.Process(command.process.pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.spilled |= self._cluster.spilled_files()
            self.driver = max(self.driver, _own_memory(self._command))
            for node in self._cluster.nodes:
                for process in psutil.Process(node.pid).children(recursive=True):
                    self.workers = max(self.workers, _own_memory(process, "ray::"))


def _own_memory(process: psutil.Process, called: str = "") -> float:
    """MB of a process without what it shares, such as the object store; 0 if it has ended or has another name."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if "".join(process.cmdline()[:1]).startswith(called):
            found = process.memory_info()
            return (found.rss - found.shared) / 1e6
    return 0.0


def make_images(folder: Path, count: int) -> None:
    """Digits in folders of their classes; after the first ones of each class they are links to those."""
    images, labels = digits(5000)
    for label in range(CLASSES):
        own = folder / str(label)
        first = [
            write_jpeg(own / f"{number:05}.jpg", image)
            for number, image in enumerate(images[labels == label][:DISTINCT])
        ]
        for number in range(DISTINCT, count // CLASSES):
            (own / f"{number:05}.jpg").hardlink_to(first[number % DISTINCT])


def run(cluster: Cluster, arguments: list[str], folder: Path) -> Watch:
    """Run a command to its end."""
    command = cluster.run([sys.executable, "-m", "rayrml", *arguments, "--address", cluster.address], folder)
    watch = Watch(cluster, command)
    try:
        code = command.wait(SECONDS)
    finally:
        watch.close()
        print(command.text, file=sys.stderr)
    agree("exit codes", code, 0)
    return watch


def train(cluster: Cluster, folder: Path, count: int, *, preload: bool) -> tuple[Watch, float]:
    """Train on half of the images and evaluate the other half; also returns the accuracy."""
    out = folder / ("kept" if preload else "streamed")
    keys: dict[str, Any] = {"test_share": 0.5, "batch_size": BATCH, "test_batch_size": BATCH, "preload": preload}
    own = {"num_epochs": 1, "outfile": str(out / "out.txt"), "checkpoints": {"save": str(out / "model")}}
    config = training(folder / "digits", NETWORK, grayscale=True, **keys, **own) | {"ray": WORKERS}
    config["neural_network"]["optimizer"]["learning_rate"] = 0.01
    out.mkdir()
    watch = run(cluster, [str(write_config(out / "config.json", config))], folder)
    agree("batches", len((out / "out_train.txt").read_text().splitlines()), count // 2 // BATCH)
    return watch, float((out / "out_test.txt").read_text().split()[-1])


def predict(cluster: Cluster, folder: Path, count: int) -> tuple[Watch, float]:
    """Predict all images by what was trained; also returns the accuracy."""
    out = folder / "predicted"
    arguments = [
        "predict",
        str(folder / "digits"),
        "--checkpoint",
        str(folder / "kept" / "model"),
        "--output",
        str(out),
    ]
    watch = run(cluster, [*arguments, "--num-workers", "2", "--batch-size", str(BATCH)], folder)
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    agree("predictions", len({row["path"] for row in rows}), count)
    return watch, sum(row["path"].split("/")[0] == row["class"] for row in rows) / count


def main() -> None:
    """Run all three on one cluster."""
    parser = options(__doc__)
    parser.add_argument("--images", type=int, help="how many")
    arguments = parser.parse_args()
    count = arguments.images or (20_000 if arguments.quick else 200_000)
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        make_images(folder / "digits", count)
        cluster = Cluster(**NODE)
        stack.callback(cluster.close)
        cluster.add(**NODE)
        rows: list[dict[str, Any]] = []
        accuracies: list[float] = []
        for what, most, work in (
            ("preloaded", DRIVER, lambda: train(cluster, folder, count, preload=True)),
            ("streamed", DRIVER, lambda: train(cluster, folder, count, preload=False)),
            ("predicted", WRITING_DRIVER, lambda: predict(cluster, folder, count)),
        ):
            began = time.monotonic()
            watch, accuracy = work()
            told = f"{what}: {time.monotonic() - began:.0f} s, accuracy {accuracy}, driver {watch.driver:.0f} MB"
            print(f"{told}, others {watch.workers:.0f} MB, {len(watch.spilled)} spilled", file=sys.stderr, flush=True)
            accuracies.append(accuracy)
            rows += [
                alone(f"{what}: MB of the driver, peak", "", [watch.driver], most=most),
                alone(f"{what}: MB of a process of the cluster, peak", "", [watch.workers], most=OTHERS),
                alone(f"{what}: files spilled", "", [len(watch.spilled)], most=0),
            ]
    agree("accuracies", accuracies[0], accuracies[1], 0.1)
    agree("accuracies", accuracies[0], accuracies[2], 0.1)
    table("two_nodes", rows, f"{count} images on two nodes", arguments)


if __name__ == "__main__":
    main()
