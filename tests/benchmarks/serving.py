"""Requests a second and their latency, each with one small image: against FastAPI around the same network by hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

import rayrml
from tests.benchmarks.pairs import agree, cpus, environment, in_turn, options, row, table
from tests.serving.networks import draw, save_classifier

_AT_ONCE = 32
_AGAINST = "FastAPI, Pillow and the network by hand"


class Side(NamedTuple):
    """A server and its clients."""

    url: str
    headers: dict[str, str]
    path: str = "/predict"


def main() -> None:
    """Measure both in turn, with as many clients at once."""
    arguments = options(__doc__).parse_args()
    count = 200 if arguments.quick else 2_000
    latencies: dict[str, list[list[float]]] = {}

    def measure(side: Side) -> float:
        started = time.perf_counter()
        latencies.setdefault(side.url, []).append(asyncio.run(_ask(side, count)))
        return count / (time.perf_counter() - started)

    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = save_classifier(Path(temporary) / "a.pt")
        with rayrml.serve(checkpoint, port=0) as server, _by_hand(checkpoint) as theirs:
            ours = Side(server.url, {"Authorization": f"Bearer {server.token}"})
            agree("probabilities of a class", _first(ours), _first(theirs), 1e-2)
            rates = in_turn(lambda: measure(ours), lambda: measure(theirs), arguments.pairs)
    rows = [row("requests/s", _AGAINST, rates)]
    for percentile in (50, 99):
        milliseconds = [
            [1000 * float(np.percentile(own, percentile)) for own in latencies[side.url][1:]] for side in (ours, theirs)
        ]
        rows.append(row(f"p{percentile}, ms", _AGAINST, (milliseconds[0], milliseconds[1])))
    table("serving", rows, f"{count} requests with a JPEG of 28x28, {_AT_ONCE} at once", arguments)


async def _ask(side: Side, count: int) -> list[float]:
    """The seconds that each request takes."""
    contents = [draw(seed, kind="JPEG") for seed in range(16)]
    numbers = iter(range(count))
    seconds: list[float] = []
    async with httpx.AsyncClient(headers=side.headers, timeout=120) as client:

        async def work() -> None:
            for number in numbers:
                started = time.perf_counter()
                files = {"file": (f"{number}.jpg", contents[number % len(contents)])}
                (await client.post(side.url + side.path, files=files)).raise_for_status()
                seconds.append(time.perf_counter() - started)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return seconds


def _first(side: Side) -> float:
    """The probability of the class `a` for an image."""
    files = {"file": ("a.jpg", draw(0, kind="JPEG"))}
    found = httpx.post(side.url + side.path, files=files, headers=side.headers, timeout=120).raise_for_status().json()
    pairs = found["predictions"][0]["classes"] if "predictions" in found else []
    return dict(found, **{pair["class"]: pair["probability"] for pair in pairs})["a"]


@contextlib.contextmanager
def _by_hand(checkpoint: str) -> Iterator[Side]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.benchmarks.serving_by_hand", checkpoint, str(port)]
    with subprocess.Popen(command, env=environment(cpus())) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.1)
            yield Side(f"http://127.0.0.1:{port}", {})
        finally:
            process.terminate()
