"""Reading a table of a million rows, finding each file's row, and making classes of a column for two parts."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from rayrml.config.sections import Data
from rayrml.data.discovery import Samples
from rayrml.planning.table_targets import LabelTables
from tests.benchmarks.pairs import agree, alone, options, table

FOLDERS, CLASSES = 1_000, 10


def main() -> None:
    """Write a table of files that need not exist, and use it as a plan does."""
    arguments = options(__doc__).parse_args()
    count = 100_000 if arguments.quick else 1_000_000
    names = [f"{number % FOLDERS:03}/{number:07}.jpg" for number in range(count)]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "labels.csv"
        _write(path, names)
        measured = [_use(path, Samples("/images", sorted(names))) for _ in range(arguments.pairs)]
    seconds, memory = ([figures[i] for figures in measured] for i in range(2))
    rows = [
        alone("us of CPU for a row", "", [1e6 * each / count for each in seconds], most=2.0),
        alone("bytes of memory for a row, kept", "", [each / count for each in memory], most=200),
    ]
    table("label_tables", rows, f"Classes of {count} files from a table", arguments)


def _write(path: Path, names: list[str]) -> None:
    random = np.random.default_rng(0)
    numbers, parts = random.integers(CLASSES, size=len(names)), random.random(len(names))
    rows = zip(names, numbers, parts, strict=True)
    lines = (f"{name},class {number},{'val' if part < 0.1 else 'train'}\n" for name, number, part in rows)
    path.write_text("file,kind,split\n" + "".join(lines))


def _use(path: Path, samples: Samples) -> tuple[float, int]:
    """Seconds of CPU, and bytes of memory that are in use afterwards."""
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    data = Data(input_type="images", target_type="table", input_path="/images", target_path=str(path))
    tables = LabelTables(data, None)
    tables.complete_paths()
    training = tables.label(samples, "training", None)
    test = tables.label(samples, "test", training.classes)
    tables.check_use()
    agree("samples", len(training) + len(test), len(samples))
    return time.process_time() - started, process.memory_info().rss - before


if __name__ == "__main__":
    main()
