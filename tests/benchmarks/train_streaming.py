"""Training on photographs that are read anew in each epoch: `rayrml.run` against a `DataLoader`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import ray
import torch

import rayrml
from tests.benchmarks.material import photographs, small_network, training
from tests.benchmarks.pairs import agree, cpus, environment, in_turn, options, row, table
from tests.benchmarks.peers_by_hand.task import colour_network
from tests.benchmarks.train_loaders import train

EPOCHS = 2


def main() -> None:
    """Measure runs of two epochs, in turn, with Ray up."""
    arguments = options(__doc__).parse_args()
    count = 768 if arguments.quick else 2_048
    torch.set_num_threads(cpus())
    with tempfile.TemporaryDirectory() as temporary:
        folder = photographs(Path(temporary) / "photographs", count)
        os.environ.update(environment(cpus()))
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
        ours, theirs = _Run(folder, count), _Loader(folder, count)
        measured = in_turn(ours, theirs, arguments.pairs)
        ray.shutdown()
        agree("losses", ours.loss, theirs.loss, 0.1)
    what = f"streaming, 500x375 -> 224, {cpus()} threads"
    rows = [row(what, "ImageFolder + DataLoader(num_workers=2)", measured, least=1.3)]
    table("train_streaming", rows, "Training images/s, JPEGs decoded in each epoch, batch 64", arguments)


class _Run:
    def __init__(self, folder: Path, count: int):
        resize = [{"resize": [224, 224]}]
        self.config = training(
            folder, small_network(224), preload=False, batch_size=64, transforms=resize, num_epochs=EPOCHS
        )
        self.count = count
        self.loss = float("nan")

    def __call__(self) -> float:
        """Images a second over the epochs of a run, from the beginning of the first epoch."""
        history = rayrml.run(self.config, num_workers=1, quiet=True).history
        agree("epochs", len(history), EPOCHS)
        self.loss = history[-1]["train_loss"]
        return EPOCHS * self.count / sum(figures["seconds"] for figures in history)


class _Loader:
    def __init__(self, folder: Path, count: int):
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        to_tensor = [v2.Resize((224, 224)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        self.dataset = ImageFolder(str(folder), v2.Compose(to_tensor))
        self.count = count
        self.loss = float("nan")

    def __call__(self) -> float:
        """Images a second over as many epochs, workers started at the beginning of the first."""
        network = colour_network()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        started = time.perf_counter()
        loader = torch.utils.data.DataLoader(
            self.dataset, batch_size=64, shuffle=True, num_workers=2, persistent_workers=True
        )
        for _ in range(EPOCHS):
            self.loss = train(network, optimizer, loader)
        return EPOCHS * self.count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
