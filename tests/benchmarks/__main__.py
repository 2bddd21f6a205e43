"""Runs a benchmark by its name, or all of them one after the other, each in a process of its own."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.report import FOLDER, write

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef main(" in path.read_text())


def all_of_them(options: list[str]) -> int:
    """Run each benchmark, then print the comparisons of all in one table; how many could not be run."""
    failed = []
    rows = []
    for name in NAMES:
        print(f"\n{name}", flush=True)
        if subprocess.run([sys.executable, "-m", "tests.benchmarks", name, *options]).returncode:
            failed.append(name)
            continue
        found = json.loads((FOLDER / f"{name}.json").read_text())["rows"]
        rows += [{"benchmark": name, **row} for row in found if "bar" in row]
    if rows:
        write("all", rows, "All comparisons: the ratio of ours to theirs, lowest and highest of the pairs")
    for name in failed:
        print(f"\n{name} could not be run", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("all", *NAMES):
        raise SystemExit(f"python -m tests.benchmarks all|{'|'.join(NAMES)} [options]")
    if sys.argv[1] == "all":
        raise SystemExit(all_of_them(sys.argv[2:]))
    sys.argv = sys.argv[1:]
    importlib.import_module(f"tests.benchmarks.{sys.argv[0]}").main()
