"""A check of the installation: a small training run and its predictions, each step with its duration."""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import ray
import simplejpeg

from rayrml import storage
from rayrml.cluster import connection, nodes, ray_client
from rayrml.cluster.allocation import Allocation
from rayrml.config.cluster import Ray
from rayrml.cpus import count_cpus
from rayrml.errors import ConfigError, Problem, RayrmlError, explaining
from rayrml.formatting import format_bytes
from rayrml.inference.prediction_reading import read_outputs
from rayrml.runs.launch import run
from rayrml.runs.predict import predict
from rayrml.version import __version__

KINDS = ("bottom", "top")  # the bright half
NUM_IMAGES, SIZE, NUM_EPOCHS = 32, 16, 8
_MOST_WORKERS = 8
_PATIENCE = 60.0  # seconds to wait for a machine's reply

Say = Callable[[str], None]


def check(
    say: Say,
    *,
    address: str | None = None,
    folder: str | None = None,
    num_workers: int | None = None,
    verbose: bool = False,
) -> None:
    """Train a small network on two kinds of images, predict them, and compare the predictions with the kinds.

    Args:
        say: receives the lines of the report.
        address: a running cluster; default: RAY_ADDRESS, or a new private Ray.
        folder: for temporary images and results; a cluster of several machines must share it.
        num_workers: training workers; default: one per GPU or one CPU worker, and no more than there is work for.
        verbose: show Ray's own messages.

    Raises:
        RayrmlError: what does not work, with a hint; of the class that a run would raise.
    """
    _versions(say)
    if (address or "").startswith("ray://") or ray_client.is_needed(address):
        message = "must run on the cluster itself. Use `ray job submit -- rayrml check-install --folder ...`"
        raise ConfigError(Problem("--address", message))
    with contextlib.ExitStack() as stack:
        with _step(say, "Connecting to Ray", "`ray status` shows whether a cluster runs; if none, see RAY_ADDRESS"):
            connected = connection.connect(Ray(address=address, num_workers=num_workers), verbose=verbose)
            allocation = stack.enter_context(connected)
        _devices(say)
        place = stack.enter_context(_place(folder, allocation))
        workers = num_workers or min(allocation.most_workers, _MOST_WORKERS)
        with _step(say, f"Writing {NUM_IMAGES} images", "is the disk full or read-only?"):
            write_images(place / "images")
        with _step(say, f"Training for {NUM_EPOCHS} epochs", "`--verbose` shows Ray's messages"):
            section = {"address": address, "num_workers": workers}
            result = run({**configuration(place), "ray": section}, quiet=True, verbose=verbose)
        with _step(say, "Predicting", "`--verbose` shows Ray's messages"):
            overrides = {"ray.address": address, "ray.num_workers": workers}
            found = predict(
                result.checkpoints[-1],
                place / "images",
                place / "predictions",
                overrides=overrides,
                quiet=True,
                verbose=verbose,
            )
        with _step(say, "Comparing", "PyTorch or the image decoder computes wrong values here"):
            compare(found.files[0])
    say("rayrml works here.")


def write_images(folder: Path) -> None:
    """Write JPEG files of the two kinds into folders of these names, with the same noise each time."""
    random = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        kind = KINDS[number % 2]
        image = random.integers(0, 80, (SIZE, SIZE, 1), np.uint8)
        rows = slice(SIZE // 2) if kind == "top" else slice(SIZE // 2, SIZE)
        image[rows] += 120
        path = folder / kind / f"{number:02}.jpg"
        with explaining(path, "cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(simplejpeg.encode_jpeg(image, quality=95, colorspace="GRAY"))


def configuration(folder: Path) -> dict[str, Any]:
    """The configuration for training on the images in a folder."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, 1], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"}},
        {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": 2}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": len(KINDS), "activation": "log_softmax"}},
    ]
    data = {"input_type": "images", "target_type": "labels", "input_path": str(folder / "images"), "grayscale": True}
    network = {
        "layers": layers,
        "num_epochs": NUM_EPOCHS,
        "data": {**data, "batch_size": _MOST_WORKERS},
        "optimizer": {"type": "Adam", "learning_rate": 0.01},
        "loss": {"function": "NLL"},
        "checkpoints": {"save": str(folder / "model"), "interval": NUM_EPOCHS},
    }
    return {"neural_network": network}


def compare(path: str) -> None:
    """Raise RayrmlError if the file lacks a prediction for an image, or predicts the wrong kind for one."""
    found = {name: KINDS[int(output.argmax())] for name, output in read_outputs(path)}
    wrong = [name for name, kind in found.items() if name.partition("/")[0] != kind]
    if len(found) != NUM_IMAGES:
        raise RayrmlError(f"{len(found)} of {NUM_IMAGES} images have a prediction")
    if wrong:
        raise RayrmlError(f"{len(wrong)} of {NUM_IMAGES} predictions are wrong on easy images: {wrong[0]}, ...")


def _versions(say: Say) -> None:
    versions = {
        "rayrml": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: metadata.version(name) for name in ("torch", "ray", "numpy", "h5py")},
    }
    for name, version in versions.items():
        say(f"* {name:<28}: {version}")


def _devices(say: Say) -> None:
    """Report the hardware of each machine of the cluster."""
    task: Any = ray.remote(_machine)
    for node in ray.nodes():
        if node["Alive"]:
            asked = task.options(num_cpus=0, scheduling_strategy=nodes.pin_to_node(node["NodeID"])).remote()
            ready, _ = ray.wait([asked], timeout=_PATIENCE)
            counts = ", ".join(f"{node['Resources'].get(name, 0):g} {name}" for name in ("CPU", "GPU"))
            has = ray.get(asked) if ready else "no reply"
            say(f"* {'Machine ' + node['NodeManagerAddress']:<28}: {has} (for Ray: {counts})")


def _machine() -> str:
    """The CPUs and GPUs of this machine."""
    return ", ".join([f"{count_cpus()} CPUs", *(_gpus() or ["no GPU"])])


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE / 2, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # a driver without a GPU
    pairs = [line.rpartition(",") for line in done.stdout.splitlines()]
    return [f"{name} with {format_bytes(int(size) * 2**20)}" for name, _, size in pairs if size.strip().isdecimal()]


@contextlib.contextmanager
def _place(folder: str | None, allocation: Allocation) -> Iterator[Path]:
    """A new folder that is removed afterwards.

    Raises:
        ConfigError: no folder was given that the machines can share.
        DataError: it cannot be created.
    """
    if folder is None and not allocation.one_machine:
        message = "is missing: the cluster has, or may have, several machines. Name a folder that they share"
        raise ConfigError(Problem("--folder", message))
    if folder is not None and storage.is_uri(folder):
        raise ConfigError(Problem("--folder", f"expected a folder in the file system, but got '{folder}'"))
    with explaining("--folder", f"'{folder}' cannot be written to"):
        made = tempfile.TemporaryDirectory(prefix="rayrml-check-", dir=folder, ignore_cleanup_errors=True)
    with made as name:
        yield Path(name).absolute()


@contextlib.contextmanager
def _step(say: Say, name: str, hint: str) -> Iterator[None]:
    """Report how long the block took; add the step's name and a hint to what it raises."""
    started = time.monotonic()
    try:
        yield
    except RayrmlError as error:
        raise type(error)(*error.problems, f"{name} failed. Hint: {hint}") from None
    except Exception:
        say(f"{name} failed")
        raise
    say(f"* {name:<28}: {time.monotonic() - started:.1f} s")
