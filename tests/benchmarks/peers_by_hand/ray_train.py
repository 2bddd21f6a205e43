"""Ray Train as its documentation shows it for PyTorch, with a worker for each of two CPUs.

`python -m tests.benchmarks.peers_by_hand.ray_train FOLDER SIZE EPOCHS TIMES`
"""

from __future__ import annotations

import sys
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tests.benchmarks.peers_by_hand.task import colour_network, note_end_of_epoch, transform

_WORKERS = 2


def train(config: dict[str, Any]) -> None:
    """What each worker does."""
    dataset = ImageFolder(f"{config['folder']}/train", transform(config["size"]))
    loader = DataLoader(dataset, batch_size=64 // _WORKERS, shuffle=True)
    loader = ray.train.torch.prepare_data_loader(loader)
    network = ray.train.torch.prepare_model(colour_network())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for epoch in range(config["epochs"]):
        loader.sampler.set_epoch(epoch)
        for images, labels in loader:
            loss = functional.nll_loss(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ray.train.report({"loss": loss.item(), "epoch": epoch})
        if ray.train.get_context().get_world_rank() == 0:
            note_end_of_epoch(config["times"])


if __name__ == "__main__":
    folder, size, epochs, times = sys.argv[1:]
    trainer = ray.train.torch.TorchTrainer(
        train,
        train_loop_config={"folder": folder, "size": int(size), "epochs": int(epochs), "times": times},
        scaling_config=ray.train.ScalingConfig(num_workers=_WORKERS, use_gpu=False),
    )
    trainer.fit()
