"""What the scripts share: the network, the transforms of an image, and the note that an epoch has ended.

This imports nothing of rayrml, which would cost their commands time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2


def transform(size: int) -> Callable[[Any], torch.Tensor]:
    """From a decoded image to a tensor (3, size, size) between 0 and 1, as torchvision's documentation shows it."""
    return v2.Compose([v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def note_end_of_epoch(path: str) -> None:
    """Append the time to a file, a line for each epoch."""
    with Path(path).open("a") as file:
        file.write(f"{time.time()}\n")


def colour_network() -> nn.Sequential:
    """The network of `material.small_network` in plain torch."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 4),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
        nn.LogSoftmax(1),
    )
