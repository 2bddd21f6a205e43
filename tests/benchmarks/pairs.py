"""Comparisons: two ways to do the same, run in turn, and what the ratio of the two must be."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.report import write

ROOT = Path(__file__).parent.parent.parent


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=5, help="how many times both sides are measured, in turn")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not how fast")
    return parser


def need(*packages: str) -> None:
    """Stop if packages that rayrml is compared with are not installed; none of the tests needs them."""
    if not all(importlib.util.find_spec(name) for name in packages):
        raise SystemExit(f"This compares with other packages. Install them with `pip install {' '.join(packages)}`")


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int, *, warm: bool = True
) -> tuple[list[float], list[float]]:
    """What both sides measure, A B A B ...; with `warm`, each is called once before, which does not count."""
    if warm:
        ours(), theirs()
    measured: list[tuple[float, float]] = []
    for _ in range(pairs):
        measured.append((ours(), theirs()))
        print(f"  {measured[-1][0]:.4g} : {measured[-1][1]:.4g}", file=sys.stderr, flush=True)
    first, second = zip(*measured, strict=True)
    return list(first), list(second)


def row(
    what: str, against: str, measured: tuple[list[float], list[float]], *, least: float = 0.0, most: float = math.inf
) -> dict[str, Any]:
    """A line of the table: medians of both sides, and the median of the pairs' ratios with the lowest and highest.

    The ratio is ours to theirs, and must be `least` at least or `most` at most.
    """
    ratios = [a / b for a, b in zip(*measured, strict=True)]
    ratio = statistics.median(ratios)
    return {
        "what": what,
        "against": against,
        "ours": statistics.median(measured[0]),
        "theirs": statistics.median(measured[1]),
        "ratio": f"{ratio:.3g} ({min(ratios):.3g} - {max(ratios):.3g})",
        "bar": f"<= {most:g}" if most < math.inf else f">= {least:g}",
        "holds": least <= ratio <= most,
    }


def alone(what: str, against: str, measured: list[float], *, most: float) -> dict[str, Any]:
    """A line for a figure that must not be above `most`."""
    figure = statistics.median(measured)
    spread = f"{figure:.3g} ({min(measured):.3g} - {max(measured):.3g})"
    return {
        "what": what,
        "against": against,
        "ours": figure,
        "theirs": "",
        "ratio": spread,
        "bar": f"<= {most:g}",
        "holds": figure <= most,
    }


def table(name: str, rows: list[dict[str, Any]], header: str, arguments: argparse.Namespace) -> None:
    """Print and write the lines of one benchmark."""
    size = "; quick: too small to say how fast" if arguments.quick else ""
    write(name, rows, f"{header} (medians of {arguments.pairs} pairs{size})")


def agree(what: str, ours: float, theirs: float, tolerance: float = 0.0) -> None:
    """Stop if both sides did not do the same work: two figures that differ by more than a share of the second."""
    if not abs(ours - theirs) <= tolerance * abs(theirs):
        raise SystemExit(f"both sides must do the same, but the {what} differ: {ours:g} and {theirs:g}")


def environment(threads: int = 1, **variables: str) -> dict[str, str]:
    """The environment of a process that uses so many threads and finds this package."""
    places = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", **variables}


def cpus() -> int:
    """How many CPUs this process may use."""
    # macOS does not tell which ones.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
