"""What tests share: one Ray per session, folders of real digits, and small networks."""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import hypothesis
import numpy as np
import pytest
import simplejpeg

# Keras is the reference for networks; it reads the variable when it is first imported.
os.environ.setdefault("KERAS_BACKEND", "torch")
# PyTorch's threads sleep while they wait for one another. By default they wait in a busy loop, which takes the
# processor from other processes: while those of Ray were active, small networks took several times as long to train.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# For an object store on this machine, which accepts any credentials; no test may reach another store.
os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("rayrml", deadline=None)
hypothesis.settings.load_profile("rayrml")

ROOT = Path(__file__).parent.parent
BATCH = 8  # of `training_config`


def pytest_addoption(parser):
    """Add the option that runs more fuzzing cases than by default."""
    parser.addoption("--fuzz-cases", type=int, default=250, metavar="N", help="cases of fuzzing (default: 250)")


@pytest.hookimpl(trylast=True)  # after pytest's own
def pytest_configure():
    """Show only the stack of the thread that crashes: those of Ray's threads would fill the log."""
    faulthandler.enable(os.dup(2), all_threads=False)


def pytest_collection_finish(session):
    """Start the process that forks workers early: it imports PyTorch while the tests before theirs run."""
    if not session.config.option.collectonly and any("on_workers" in item.fixturenames for item in session.items):
        from tests.processes import start_server

        start_server()


@pytest.fixture(scope="session")
def on_workers():
    """A function that runs something on other processes, the workers of one run, and returns their results."""
    from tests import processes

    return processes.on_workers


@pytest.fixture(scope="session")
def ray_cluster():
    """The session's Ray. It has a single CPU, so that anything that could wait forever for another one does."""
    import ray

    # Paths of sockets are limited to 107 characters, which pytest's folders may exceed.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        address = f"{folder}/socket"
        command = [sys.executable, "-m", "tests.worker_server", address]
        # As in processes that Ray starts by itself.
        variables = os.environ | {"OMP_NUM_THREADS": "1"}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, env=variables, **streams) as server:
            assert server.stdout.readline() == b"listening\n"
            forked = f"{sys.executable} -S {ROOT / 'tests' / 'worker_server.py'} {address}"
            ray.init(address="local", num_cpus=1, log_to_driver=False, runtime_env={"py_executable": forked})
            yield ray
            ray.shutdown()
            server.stdin.close()


@pytest.fixture(scope="session")
def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (N, 28, 28) uint8 and labels (N,) of `training` and `testing` digits."""
    with np.load(ROOT / "examples" / "mnist" / "mnist_7k.npz") as file:
        return {
            "training": (file["train_images"], file["train_labels"]),
            "testing": (file["test_images"], file["test_labels"]),
        }


@pytest.fixture(scope="session")
def write_digits(digits):
    """A function that writes `count` digits of each of `classes` below a folder, in one folder per class."""

    def write(folder: Path, part: str, classes: tuple[int, ...], count: int) -> Path:
        images, labels = digits[part]
        for digit in classes:
            (folder / str(digit)).mkdir(parents=True)
            for number, image in enumerate(images[labels == digit][:count]):
                write_jpeg(folder / str(digit) / f"{number:04}.jpg", image)
        return folder

    return write


def write_jpeg(path: Path, image: np.ndarray) -> Path:
    """Write an image (H, W) or (H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gray = image.ndim == 2
    content = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image[:, :, None] if gray else image), quality=95, colorspace="GRAY" if gray else "RGB"
    )
    path.write_bytes(content)
    return path


def datasets_of(path: Path) -> dict[str, np.ndarray]:
    """The content of each dataset of an HDF5 file, by its path inside the file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def dense_network(classes: int, size: tuple[int, int] = (28, 28), channels: int = 1) -> list[dict]:
    """The layers of a small network without dropout: what it learns depends only on its samples."""
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *size, channels], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"}},
        {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": 3}},
        {"class_name": "Conv2D", "config": {"name": "conv_2", "filters": 6, "kernel_size": 3, "activation": "relu"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": classes, "activation": "log_softmax"}},
    ]


def write_config(path: Path, config: dict) -> Path:
    """Write a configuration file."""
    path.write_text(json.dumps(config))
    return path


def training_config(folder: Path, out: Path, **data: object) -> dict:
    """Two epochs on the images below a folder, with everything that a run writes in `out`; `data` is added."""
    return {
        "neural_network": {
            "outfile": str(out / "out.txt"),
            "num_epochs": 2,
            "layers": dense_network(3),
            "checkpoints": {"save": str(out / "model"), "interval": 1},
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": str(folder / "training"),
                "test_input_path": str(folder / "testing"),
                "test_output_path": str(out / "predictions"),
                "batch_size": BATCH,
                "test_batch_size": 4,
                "grayscale": True,
                **data,
            },
            "optimizer": {"type": "SGD", "learning_rate": 0.1, "momentum": 0.5},
            "loss": {"function": "NLL"},
        }
    }
