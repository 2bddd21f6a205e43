"""The whole command and its steady state against Ray Train by hand, Lightning and Ultralytics.

All train the same small network with Adam on the same folder, with what their documentation shows for two CPUs. The
steady state is that of the epochs after the first one. Needs `pip install lightning ultralytics`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.material import digit_files, photographs, small_network, training, write_config
from tests.benchmarks.pairs import agree, environment, need, options, row, table

_EPOCHS = 4
_PEERS = {
    "ray_train": "Ray Train by hand, 2 workers",
    "lightning": "Lightning + ImageFolder",
    "ultralytics": "Ultralytics classify",
}


class _Run(NamedTuple):
    whole: float  # seconds of the command
    steady: float  # images a second after the first epoch


class _Task(NamedTuple):
    what: str
    folder: Path
    count: int
    size: int
    preload: bool

    def peer(self, name: str, times: Path) -> list[str]:
        """The command of a script that notes the end of each epoch in a file."""
        arguments = [self.folder, self.size, _EPOCHS, times]
        return [sys.executable, "-m", f"tests.benchmarks.peers_by_hand.{name}", *map(str, arguments)]

    def rayrml(self, config: Path) -> list[str]:
        """The command of the product."""
        resize = [] if self.preload else [{"resize": [self.size, self.size]}]
        folder, network = self.folder / "train", small_network(self.size)
        keys: dict[str, Any] = {"preload": self.preload, "batch_size": 64, "num_epochs": _EPOCHS, "transforms": resize}
        write_config(config, training(folder, network, **keys))
        return [sys.executable, "-m", "rayrml", str(config)]


def main() -> None:
    """Measure all of them in turn on both tasks."""
    arguments = options(__doc__).parse_args()
    need("lightning", "ultralytics")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        rows = [each for task in _tasks(base, arguments) for each in _compare(task, base, arguments.pairs)]
    table("peers", rows, f"Whole commands of {_EPOCHS} epochs, and images/s after the first, batch 64", arguments)


def _tasks(base: Path, arguments: argparse.Namespace) -> list[_Task]:
    digit_count, photo_count = (1_280, 256) if arguments.quick else (12_800, 2_048)
    digit_files(base / "digits" / "train", digit_count)
    photographs(base / "photographs" / "train", photo_count)
    for name in ("digits", "photographs"):  # Ultralytics wants a folder of test images; one of each class
        _first_of_each(base / name / "train", base / name / "val")
    return [
        _Task("digits in memory", base / "digits", digit_count, 28, preload=True),
        _Task("500x375 -> 224, decoded in each epoch", base / "photographs", photo_count, 224, preload=False),
    ]


def _first_of_each(folder: Path, test: Path) -> None:
    for path in sorted(folder.iterdir()):
        first = min(path.iterdir())
        (test / path.name).mkdir(parents=True)
        (test / path.name / first.name).hardlink_to(first)


def _compare(task: _Task, base: Path, pairs: int) -> list[dict[str, Any]]:
    times = base / "times.txt"
    commands = {"rayrml": task.rayrml(base / "config.json")} | {name: task.peer(name, times) for name in _PEERS}
    measured: dict[str, list[_Run]] = {name: [] for name in commands}
    for number in range(pairs):
        for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
            run = _measure(commands[name], times, task.count)
            print(f"  {name}: {run.whole:.1f} s, {run.steady:.0f} images/s", file=sys.stderr, flush=True)
            measured[name].append(run)
    ours, rows = measured.pop("rayrml"), []
    for name, theirs in measured.items():
        whole = ([run.whole for run in ours], [run.whole for run in theirs])
        steady = ([run.steady for run in ours], [run.steady for run in theirs])
        rows.append(row(f"seconds of the command, {task.what}", _PEERS[name], whole, most=1.0))
        rows.append(row(f"images/s, {task.what}", _PEERS[name], steady, least=1.0))
    return rows


def _measure(command: list[str], times: Path, count: int) -> _Run:
    """Run a command that notes when an epoch has ended, in a file, or by the line of a log for the last batch."""
    times.unlink(missing_ok=True)
    started, ends, said = time.perf_counter(), [], []
    variables = environment()
    del variables["OMP_NUM_THREADS"]  # each library has its own way to choose threads
    run = subprocess.Popen(
        command, cwd=times.parent, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in run.stdout or ():
        said.append(line)
        if _is_last_batch(line):
            ends.append(time.time())
    if run.wait():
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}\n{''.join(said)}")
    seconds = time.perf_counter() - started
    ends = ends or [float(line) for line in times.read_text().split()]
    agree("epochs", len(ends), _EPOCHS)
    return _Run(seconds, (_EPOCHS - 1) * count / (ends[-1] - ends[0]))


def _is_last_batch(line: str) -> bool:
    if "Train Epoch" not in line:
        return False
    done, of = line.split("Batch [")[1].split("]")[0].split("/")
    return done.strip() == of.strip()


if __name__ == "__main__":
    main()
