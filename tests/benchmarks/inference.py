"""Predictions of 10,000 small images: with Ray up against one process without output, and all CPU seconds of a job."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import ray
import simplejpeg
import torch

import rayrml
from rayrml.cluster import connection
from rayrml.inference import batch_job as rayrml_inference
from rayrml.inference.batch_job import InferenceJob
from rayrml.inference.outputs import destination_of
from tests.benchmarks import material
from tests.benchmarks.loops import digits_network
from tests.benchmarks.pairs import agree, cpus, environment, in_turn, options, row, table

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl


def main() -> None:
    """Measure the rate in one session, then whole jobs."""
    arguments = options(__doc__).parse_args()
    count = 2_000 if arguments.quick else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        material.digit_files(folder / "digits", count)
        rows = [jobs(folder, arguments.pairs, warm=not arguments.quick), rate(folder, count, arguments.pairs)]
    table("inference", rows, f"Predictions for {count} JPEGs of 28x28", arguments)


def rate(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """Samples a second from decoding to the closed file, against decoding and computing in this process."""
    torch.set_num_threads(cpus())
    os.environ.update(environment(cpus()))
    ray.init(num_cpus=cpus(), log_to_driver=False, include_dashboard=False)
    plan = rayrml.check(material.inference(folder / "digits", folder / "ours"))
    network = digits_network(plan.network).eval()
    paths = [plan.test.samples.path(i) for i in range(count)]
    file = folder / "ours" / "output_1.h5"
    sums = {}

    def ours() -> float:
        with connection.connect(plan.config.ray) as allocation:
            nn = plan.config.neural_network
            job = InferenceJob(
                config=nn,
                network=plan.network,
                source=plan.test,
                transforms=plan.datasets.transforms,
                loss=None,
                destination=destination_of(plan.test, nn, 1, ()),
            )
            started = time.perf_counter()
            agree("samples", rayrml_inference.predict(job, allocation, lambda done: None), count)
            return count / (time.perf_counter() - started)

    def theirs() -> float:
        started = time.perf_counter()
        outputs = [_outputs(network, paths[first : first + 128]) for first in range(0, count, 128)]
        seconds = time.perf_counter() - started
        sums["theirs"] = float(np.concatenate(outputs).sum(dtype=np.float64))
        return count / seconds

    measured = in_turn(ours, theirs, pairs)
    ray.shutdown()
    agree("sums of outputs", _sum(file), sums["theirs"], 1e-4)
    return row("samples/s, Ray up, to the closed file", "1 process, no output", measured, least=0.7)


@torch.inference_mode()
def _outputs(network: torch.nn.Module, paths: list[str]) -> np.ndarray:
    images = np.empty((len(paths), 1, 28, 28), np.uint8)
    for image, path in zip(images, paths, strict=True):
        image[0] = simplejpeg.decode_jpeg(Path(path).read_bytes(), colorspace="GRAY")[:, :, 0]
    return network(torch.from_numpy(images).float().div_(255)).numpy()


def jobs(folder: Path, pairs: int, *, warm: bool) -> dict[str, Any]:
    """CPU seconds of all processes of `rayrml CONFIG`, against a job as one would write it, until the file is whole."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # Ray's processes stay descendants of this one
    config = material.inference(folder / "digits", folder / "job")
    path = material.write_config(folder / "config.json", config)
    network = digits_network(rayrml.check(config).network)
    weights = folder / "weights.pt"
    torch.save(network.state_dict(), weights)
    ours, theirs = folder / "job" / "output_1.h5", folder / "theirs.h5"
    one = [sys.executable, "-m", "rayrml", str(path), "--quiet"]
    other = [sys.executable, "-m", "tests.benchmarks.inference_by_hand", str(folder / "digits"), str(weights)]
    measured = in_turn(
        lambda: cpu_seconds(one, ours), lambda: cpu_seconds([*other, str(theirs)], theirs), pairs, warm=warm
    )
    # Pillow and simplejpeg may round a pixel differently.
    agree("sums of outputs", _sum(ours), _sum(theirs), 1e-2)
    return row("CPU seconds of a job, all processes", "read_images + actor + create_dataset", measured, most=0.6)


def cpu_seconds(command: list[str], file: Path) -> float:
    """What a command and all processes below it have used when `file` is there; those that have ended count as well."""
    file.unlink(missing_ok=True)
    used: dict[tuple[int, float], float] = {}
    run = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    me = psutil.Process()
    others = {process.pid for process in me.children(recursive=True)} - {run.pid}
    while not file.exists():
        if run.poll() is not None and not file.exists():
            raise SystemExit(f"{' '.join(command)} ended with {run.returncode} and wrote no file")
        time.sleep(0.2)
        _note(me, others, used)
    _note(me, others, used)
    run.wait()
    _reap(me, others)
    return sum(used.values())


def _note(me: psutil.Process, others: set[int], used: dict[tuple[int, float], float]) -> None:
    for process in me.children(recursive=True):
        try:
            times = process.cpu_times()
            key = (process.pid, process.create_time())
        except psutil.NoSuchProcess:
            continue
        if process.pid not in others:
            used[key] = times.user + times.system


def _reap(me: psutil.Process, others: set[int]) -> None:
    """Wait for what the command left behind to end."""
    left = [process for process in me.children(recursive=True) if process.pid not in others]
    psutil.wait_procs(left, timeout=60)


def _sum(path: Path) -> float:
    """Sum of all numbers in a file of predictions."""
    total = 0.0

    def add(_: str, found: Any) -> None:
        nonlocal total
        if isinstance(found, h5py.Dataset):
            total += float(found[()].sum(dtype=np.float64))

    with h5py.File(path) as file:
        file.visititems(add)
    return total


if __name__ == "__main__":
    main()
