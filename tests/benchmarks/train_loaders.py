"""Training on digits in memory against a `DataLoader` on the files and against Keras on arrays in memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.loops import RayrmlLoop, digits_network, planned
from tests.benchmarks.material import digit_files, digits, training
from tests.benchmarks.pairs import agree, cpus, in_turn, options, row, table


def main() -> None:
    """Measure all three in this process, epoch by epoch."""
    arguments = options(__doc__).parse_args()
    count = 2_560 if arguments.quick else 12_800
    threads = cpus()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_files(folder / "digits", count)
        plan, job = planned(training(folder / "digits", preload=True, grayscale=True))
        data = digits(count)
        others = {
            "ImageFolder + DataLoader(num_workers=2)": (LoaderLoop(folder / "digits", plan.network), 2.0),
            "Keras fit on arrays, torch backend": (KerasLoop(data), 1.2),
        }
        rows = []
        for name, (theirs, bar) in others.items():
            _, job = planned(training(folder / "digits", preload=True, grayscale=True))
            ours = RayrmlLoop(job, data, folder / "log.txt")
            measured = in_turn(
                lambda ours=ours: count / ours(), lambda theirs=theirs: count / theirs(), arguments.pairs
            )
            agree("losses", ours.loss, theirs.loss, 0.15)
            rows.append(row(f"preloaded, {threads} threads", name, measured, least=bar))
    table("train_loaders", rows, "Training images/s, digits, batch 128", arguments)


def _rate(count: int, loop: Callable[[], float]) -> Callable[[], float]:
    return lambda: count / loop()


class LoaderLoop:
    """The loop of torchvision's tutorials: the files are decoded anew in each epoch by two worker processes."""

    def __init__(self, folder: Path, network: nn.Module):
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        gray = [v2.Grayscale(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        dataset = ImageFolder(str(folder), v2.Compose(gray))
        self.loader = torch.utils.data.DataLoader(
            dataset, batch_size=128, shuffle=True, num_workers=2, persistent_workers=True
        )
        self.network = digits_network(network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.loss = float("nan")

    def __call__(self) -> float:
        """Train an epoch; its seconds."""
        started = time.perf_counter()
        self.loss = train(self.network, self.optimizer, self.loader)
        return time.perf_counter() - started


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Any]) -> float:
    """Train on all batches; the mean of their losses."""
    network.train()
    losses = []
    for images, labels in batches:
        optimizer.zero_grad()
        loss = functional.nll_loss(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


class KerasLoop:
    """The same network and optimizer in Keras, on float32 arrays in memory."""

    def __init__(self, data: tuple[np.ndarray, np.ndarray]):
        os.environ["KERAS_BACKEND"] = "torch"
        import keras

        layers = keras.layers
        self.model = keras.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.Dense(10, activation="softmax"),
            ]
        )
        self.model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy")
        self.images = (data[0][..., None] / 255).astype(np.float32)
        self.labels = data[1]
        self.loss = float("nan")

    def __call__(self) -> float:
        """Train an epoch; its seconds."""
        started = time.perf_counter()
        done = self.model.fit(self.images, self.labels, batch_size=128, epochs=1, verbose=0)
        seconds = time.perf_counter() - started
        self.loss = done.history["loss"][-1]
        return seconds


if __name__ == "__main__":
    main()
