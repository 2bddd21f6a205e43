"""Finding and labelling a million image files, against `os.walk` alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import agree, alone, environment, in_turn, options, row, table

FOLDERS = 1_000


def main() -> None:
    """Make empty files, and look for them in new processes."""
    parser = options(__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, path = arguments.child
        print(*(ours if name == "ours" else walk)(path))
        return
    count = 100_000 if arguments.quick else 1_000_000
    peaks: list[float] = []

    def look(name: str, folder: str) -> float:
        command = [sys.executable, "-m", "tests.benchmarks.discovery", "--child", name, folder]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
        seconds, found, peak = map(float, done.stdout.split())
        agree("files", found, count)
        if name == "ours":
            peaks.append(peak / 1e9)
        return seconds

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        _make(Path(folder), count)
        measured = in_turn(lambda: look("ours", folder), lambda: look("walk", folder), arguments.pairs)
    rows: list[dict[str, Any]] = [
        row(f"seconds, {count} files", "os.walk", measured, most=2.0),
        alone("GB of memory, peak", "", peaks, most=1.0),
    ]
    table("discovery", rows, f"Finding and labelling {count} images", arguments)


def ours(folder: str) -> tuple[float, int, int]:
    """Seconds, samples and bytes of memory at the most."""
    from rayrml.data.discovery import find_samples, label_by_folder

    started = time.perf_counter()
    samples = label_by_folder(find_samples(folder, (".jpg", ".png"), ""), None, "")
    seconds = time.perf_counter() - started
    agree("classes", len(samples.classes), FOLDERS)
    return seconds, len(samples), _peak()


def walk(folder: str) -> tuple[float, int, int]:
    """The same for `os.walk`, whose names are counted and forgotten."""
    started = time.perf_counter()
    found = sum(len(files) for _, _, files in os.walk(folder))
    return time.perf_counter() - started, found, _peak()


def _peak() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def _make(folder: Path, count: int) -> None:
    for number in range(FOLDERS):
        below = folder / f"class_{number:03}"
        below.mkdir()
        for each in range(count // FOLDERS):
            os.close(os.open(f"{below}/image_{each:06}.jpg", os.O_CREAT | os.O_WRONLY))


if __name__ == "__main__":
    main()
