"""Runs a benchmark by its name, or all of them."""

import importlib
import pkgutil
import sys

from tests import benchmarks

NAMES = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in ("__main__", "report"))

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("all", *NAMES):
        raise SystemExit(f"python -m tests.benchmarks all|{'|'.join(NAMES)} [options]")
    for name in NAMES if sys.argv[1] == "all" else sys.argv[1:2]:
        sys.argv = [name, *sys.argv[2:]]
        importlib.import_module(f"tests.benchmarks.{name}").main()
