"""Lightning as its documentation shows it, with torchvision's folder of images and two processes that load.

`python -m tests.benchmarks.peers_by_hand.lightning FOLDER SIZE EPOCHS TIMES`
"""

from __future__ import annotations

import sys

import lightning
import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tests.benchmarks.peers_by_hand.task import colour_network, note_end_of_epoch, transform


class Classifier(lightning.LightningModule):
    """The network and the steps of a training."""

    def __init__(self, times: str):
        super().__init__()
        self.network = colour_network()
        self.times = times

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = functional.nll_loss(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        """Called after each epoch."""
        note_end_of_epoch(self.times)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Called once."""
        return torch.optim.Adam(self.parameters(), lr=1e-4)


if __name__ == "__main__":
    folder, size, epochs, times = sys.argv[1:]
    dataset = ImageFolder(f"{folder}/train", transform(int(size)))
    loader = DataLoader(dataset, batch_size=64, shuffle=True, num_workers=2, persistent_workers=True)
    trainer = lightning.Trainer(max_epochs=int(epochs), accelerator="cpu", default_root_dir=f"{folder}/lightning")
    trainer.fit(Classifier(times), loader)
