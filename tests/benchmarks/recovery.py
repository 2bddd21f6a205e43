"""How long it takes until training goes on after a fault, from the fault to the next batch that is done."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.material import digit_files, training, write_config
from tests.benchmarks.pairs import cpus, environment, options
from tests.benchmarks.report import write
from tests.clusters import Cluster, Command

_NODE = {"CPU": 1, "place": 1}
_WORKER = {"CPU": 0.4, "place": 1}
_PATIENCE = 300.0


def main() -> None:
    """Let each fault happen as many times as there are pairs."""
    arguments = options(__doc__).parse_args()
    faults: dict[str, Callable[[Path], float]] = {
        "SIGTERM: until the command has ended": _stopped,
        "the command is killed: from typing --resume": _resumed,
        "one of two workers is killed": _worker_killed,
        "one of two workers gets SIGTERM": _worker_warned,
        "a node is killed, an elastic run goes on": _node_killed,
        "a node comes back after 20 seconds, a fixed run goes on": _node_back,
    }
    rows = []
    for fault, measure in faults.items():
        seconds = []
        for _ in range(1 if arguments.quick else arguments.pairs):
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(measure(Path(folder)))
            print(f"  {fault}: {seconds[-1]:.1f}", file=sys.stderr, flush=True)
        spread = f"{min(seconds):.1f} - {max(seconds):.1f}"
        rows.append({"fault": fault, "seconds": statistics.median(seconds), "spread": spread})
    write("recovery", rows, "Seconds until training goes on")


def _stopped(folder: Path) -> float:
    with _running(_config(folder), folder) as run:
        run.process.send_signal(signal.SIGTERM)
        started = time.perf_counter()
        if run.wait(_PATIENCE) != 143:
            raise SystemExit(run.text)
        return time.perf_counter() - started


def _resumed(folder: Path) -> float:
    config = _config(folder)
    with _running(config, folder) as run:
        _kill(run.process.pid)
        run.wait(_PATIENCE)
    started = time.perf_counter()
    with _running(config, folder, "--resume"):
        return time.perf_counter() - started


def _worker_killed(folder: Path) -> float:
    return _worker_lost(folder, signal.SIGKILL)


def _worker_warned(folder: Path) -> float:
    return _worker_lost(folder, signal.SIGTERM)


def _worker_lost(folder: Path, number: signal.Signals) -> float:
    with _running(_config(folder), folder, "--num-workers=2") as run:
        workers = [p for p in psutil.Process(run.process.pid).children(recursive=True) if "RayTrainWorker" in p.name()]
        os.kill(workers[-1].pid, number)
        return _next_batch(run, "Resuming at epoch")


def _node_killed(folder: Path) -> float:
    with _on_nodes(folder, [1, 2]) as (cluster, node, run):
        cluster.kill(node)
        return _next_batch(run, "Resuming at epoch")


def _node_back(folder: Path) -> float:
    with _on_nodes(folder, 2) as (cluster, node, run):
        cluster.kill(node)
        run.wait_for("Waiting for nodes", _PATIENCE)
        time.sleep(20)
        cluster.add(**_NODE)
        return _next_batch(run, "Resuming at epoch")


def _config(folder: Path, **ray: Any) -> Path:
    digit_files(folder / "digits", 1_280)
    config = training(folder / "digits", preload=True, grayscale=True)
    config["neural_network"] |= {"num_epochs": 10_000, "checkpoints": {"save": str(folder / "model"), "interval": 100}}
    return write_config(folder / "config.json", config | {"ray": ray})


@contextlib.contextmanager
def _running(config: Path, folder: Path, *options: str) -> Any:
    """A run that has come to its next batch; it is killed at the end."""
    run = Command([sys.executable, "-m", "rayrml", str(config), *options], env=environment(cpus()), cwd=folder)
    try:
        run.wait_for("Train Epoch", _PATIENCE)
        yield run
    finally:
        _kill(run.process.pid)
        run.wait(_PATIENCE)


@contextlib.contextmanager
def _on_nodes(folder: Path, num_workers: Any) -> Any:
    """A cluster of two nodes, the second of them, and a run of two workers there that has come to its third epoch."""
    cluster = Cluster(**_NODE)
    try:
        node = cluster.add(**_NODE)
        config = _config(folder, num_workers=num_workers, resources_per_worker=_WORKER)
        run = cluster.run([sys.executable, "-m", "rayrml", str(config), "--address", cluster.address], folder)
        run.wait_for("Training on 2 workers", _PATIENCE)
        run.wait_for("Train Epoch [  3/", _PATIENCE)
        yield cluster, node, run
    finally:
        cluster.close()


def _next_batch(run: Command, text: str) -> float:
    """Seconds until a batch is done behind the next line with `text`."""
    started = time.perf_counter()
    said = run.wait_for(text, _PATIENCE, after=len(run.lines))
    run.wait_for("Train Epoch", _PATIENCE, after=said)
    return time.perf_counter() - started


def _kill(pid: int) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


if __name__ == "__main__":
    main()
