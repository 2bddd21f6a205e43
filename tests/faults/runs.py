"""Runs for the fault tests, and checks of what must hold for them afterwards."""

import threading
import time

import psutil
import torch

from rayrml.saving import checkpoints
from tests.conftest import dense_network

CLASSES = (1, 4, 7)
NUM_TRAINING, NUM_TEST, BATCH = 3 * 20, 3 * 4, 4
NUM_BATCHES = NUM_TRAINING // BATCH


def write_images(folder, write_digits):
    """Write training and test images into two subfolders of `folder`."""
    write_digits(folder / "training", "training", CLASSES, NUM_TRAINING // 3)
    write_digits(folder / "testing", "testing", CLASSES, NUM_TEST // 3)
    return folder


def config_in(folder, out, **settings):
    """The configuration of a training run with random numbers, whose output files are all in `out`."""
    out.mkdir(exist_ok=True)
    layers = dense_network(3)
    dropout = {"class_name": "Dropout", "config": {"rate": 0.5}}
    return {
        "neural_network": {
            "outfile": str(out / "out.txt"),
            "num_epochs": 4,
            "layers": [*layers[:3], dropout, *layers[3:]],
            "checkpoints": {"save": str(out / "model"), "interval": 1},
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": str(folder / "training"),
                "test_input_path": str(folder / "testing"),
                "batch_size": BATCH,
                "grayscale": True,
                "transforms": [{"random_rotate": 10}],
            },
            "optimizer": {"type": "Adam", "lr_scheduler": {"type": "Exponential", "gamma": 0.9}},
            "loss": {"function": "NLL"},
            **settings,
        }
    }


def logged(out, kind="train"):
    """Epoch, batch and loss of each line of the training log; epoch and accuracy for the evaluation log."""
    path = out / f"out_{kind}.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(int(line[0]), int(line[1]), line[3]) if kind == "train" else (int(line[0]), line[-1]) for line in lines]


def assert_whole_logs(out, num_epochs):
    """No line is missing, and none is duplicated."""
    expected = [(e, b) for e in range(1, num_epochs + 1) for b in range(1, NUM_BATCHES + 1)]
    assert [line[:2] for line in logged(out)] == expected
    assert [line[0] for line in logged(out, "test")] == list(range(1, num_epochs + 1))


def weights(out, epoch):
    return checkpoints.load(out / "model" / f"model_checkpoint_{epoch}.pt").network


def assert_same_weights(out, other, epoch, within=0.0):
    one, two = weights(out, epoch), weights(other, epoch)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=within)


def when(condition, do, timeout=120):
    """In a thread, call `do` as soon as a condition holds."""

    def watch():
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if condition():
                do()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def training_workers():
    """The processes of Ray's training workers that descend from this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::RayTrainWorker"] or "RayTrainWorker" in "".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue
    return found
