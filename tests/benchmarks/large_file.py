"""Memory of a training on slices of one large file, all processes of the run together."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks.pairs import options
from tests.benchmarks.report import write

SIDE = 64


def main() -> None:
    """Train one epoch on slices of the file, and print the peaks of memory."""
    parser = options(__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.gigabytes = min(arguments.gigabytes, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.npy"
        shape = (round(arguments.gigabytes * 2**30 / 4 / 1024**2 / SIDE) * SIDE, 1024, 1024)
        volume = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        random = np.random.default_rng(0)
        for start in range(0, shape[0], SIDE):
            volume[start : start + SIDE] = random.random((SIDE, *shape[1:]), np.float32)
        volume.flush()
        del volume
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(configuration(path)))
        # The same run on a small file: what is there without the data.
        small = Path(folder) / "small.npy"
        np.save(small, random.random((4 * SIDE, SIDE, SIDE), np.float32))
        small_config = Path(folder) / "small.json"
        small_config.write_text(json.dumps(configuration(small)))
        rows = [
            {"file": f"{file.stat().st_size / 1e9:.2f} GB", **peaks(where)}
            for file, where in ((small, small_config), (path, config))
        ]
    write("large_file", rows, "Peak memory of training on slices of one file, not preloaded (GB)")


def configuration(path: Path) -> dict:
    """One epoch of a small network that gives back its input."""
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIDE, SIDE, SIDE, 1], "name": "in"}},
        {"class_name": "Conv3D", "config": {"name": "out", "filters": 1, "kernel_size": 1}},
    ]
    data = {"type": "numpy", "input_path": str(path), "batch_size": 8, "slicers": [{"sizes": [SIDE] * 3}]}
    optimizer = {"type": "SGD", "learning_rate": 1e-3}
    return {"neural_network": {"layers": layers, "data": data, "optimizer": optimizer, "loss": {"function": "MSE"}}}


def peaks(config: Path) -> dict:
    """The highest memory of the training process and of all processes of `rayrml CONFIG`, in GB, and its seconds.

    A page that several processes share counts for each in equal parts (PSS), pages of mapped files too.
    """
    started = time.perf_counter()
    run = subprocess.Popen([sys.executable, "-m", "rayrml", str(config), "--quiet"], start_new_session=True)
    own = together = 0
    process = psutil.Process(run.pid)
    while run.poll() is None:
        sizes = {}
        try:
            for each in (process, *process.children(recursive=True)):
                sizes[each.pid] = each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        own, together = max(own, sizes.get(run.pid, 0)), max(together, sum(sizes.values()))
        time.sleep(0.2)
    if run.returncode:
        raise SystemExit(f"the training failed with {run.returncode}")
    seconds = time.perf_counter() - started
    return {"training process": own / 1e9, "all processes": together / 1e9, "seconds": seconds}


if __name__ == "__main__":
    main()
