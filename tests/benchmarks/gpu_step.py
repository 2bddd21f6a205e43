"""Training steps on one device, a GPU if there is one, against a loop written by hand; needs no Ray."""

import argparse
import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rayrml.data.shards import ResidentShard
from rayrml.inference.arithmetic import autocast_dtype
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.step import TrainingStep
from tests.benchmarks.report import write
from tests.conftest import ROOT
from tests.keras_networks import resnet50, unet3d

FUNCTIONS = {"NLL": functional.nll_loss, "MSE": functional.mse_loss}


@dataclasses.dataclass(frozen=True)
class Task:
    """A network, the same by hand, and samples for it; `shape` is (C, *spatial)."""

    name: str
    layers: Any
    by_hand: Callable[[], nn.Module]
    shape: tuple[int, ...]
    loss: str
    num_samples: int
    batch_size: int
    precision: str = "float32"
    num_epochs: int = 1

    def samples(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Digits again and again, random pixels and labels, or random numbers to be given back."""
        if self.name == "MNIST":
            with np.load(ROOT / "examples" / "mnist" / "mnist_7k.npz") as file:
                digits, labels = file["train_images"], file["train_labels"]
            pixels = torch.from_numpy(np.resize(digits, (self.num_samples, *self.shape)))
            return pixels.to(device), torch.from_numpy(np.resize(labels, self.num_samples)).long().to(device)
        generator = torch.Generator().manual_seed(0)
        if self.loss == "MSE":
            inputs = torch.rand(self.num_samples, *self.shape, generator=generator).to(device)
            return inputs, inputs
        pixels = torch.randint(0, 256, (self.num_samples, *self.shape), dtype=torch.uint8, generator=generator)
        return pixels.to(device), torch.randint(0, 10, (self.num_samples,), generator=generator).to(device)


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, channels, filters, stride, first):
        super().__init__()
        self.body = nn.Sequential(
            *_convolved(nn.Conv2d, channels, filters, 1),
            *_convolved(nn.Conv2d, filters, filters, 3, stride),
            *_convolved(nn.Conv2d, filters, 4 * filters, 1)[:-1],
        )
        self.shortcut = nn.Sequential(*_convolved(nn.Conv2d, channels, 4 * filters, 1, stride)[:-1]) if first else None

    def forward(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return (self.body(x) + shortcut).relu_()


class UNet3D(nn.Module):
    """The network of `unet3d` as one writes it in PyTorch."""

    def __init__(self, width, depth=3):
        super().__init__()
        channels, down, up = 1, [], []
        for level in range(depth + 1):
            first, second = width * 2**level, width * 2 ** (level + 1)
            down.append(_twice(channels, first, second))
            channels = second
        for level in reversed(range(depth)):
            filters = width * 2 ** (level + 1)
            up += [nn.ConvTranspose3d(channels, 2 * filters, 2, 2), _twice(3 * filters, filters, filters)]
            channels = filters
        self.down, self.up, self.out = nn.ModuleList(down), nn.ModuleList(up), nn.Conv3d(channels, 1, 1)

    def forward(self, x):
        skipped = []
        for level in self.down:
            x = level(functional.max_pool3d(x, 2) if skipped else x)
            skipped.append(x)
        skipped.pop()
        for larger, convolved in zip(self.up[::2], self.up[1::2], strict=True):
            x = convolved(torch.cat([larger(x), skipped.pop()], 1))
        return self.out(x)


def mnist_by_hand() -> nn.Module:
    """The network of the MNIST example."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10), nn.LogSoftmax(1)),
    )


def resnet50_by_hand(width: int) -> nn.Module:
    """The network of `resnet50` as one writes it in PyTorch."""
    layers, channels = [*_convolved(nn.Conv2d, 3, width, 7, 2), nn.MaxPool2d(3, 2, 1)], width
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            filters = width * 2**stage
            layers.append(Bottleneck(channels, filters, 2 if stage and not block else 1, not block))
            channels = 4 * filters
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000), nn.LogSoftmax(1)
    return nn.Sequential(*layers, *head)


def _convolved(convolution, channels, filters, kernel, stride=1):
    normalization = nn.BatchNorm2d if convolution is nn.Conv2d else nn.BatchNorm3d
    layer = convolution(channels, filters, kernel, stride, kernel // 2, bias=False)
    return layer, normalization(filters), nn.ReLU(inplace=True)


def _twice(channels, first, second):
    return nn.Sequential(*_convolved(nn.Conv3d, channels, first, 3), *_convolved(nn.Conv3d, first, second, 3))


def tasks(device: torch.device) -> list[Task]:
    """What is measured: in full on a GPU, small on a CPU."""
    mnist = ROOT / "examples" / "mnist" / "mnist_keras_net.json"
    if device.type == "cuda":
        return [
            Task("MNIST", mnist, mnist_by_hand, (1, 28, 28), "NLL", 60_000, 128, num_epochs=20),
            Task(
                *("ResNet50, 224", resnet50(224), lambda: resnet50_by_hand(64), (3, 224, 224)),
                *("NLL", 5120, 256, "bf16"),
            ),
            Task("U-Net 3-D, 64", unet3d(64), lambda: UNet3D(32), (1, 64, 64, 64), "MSE", 256, 8, "bf16"),
        ]
    return [
        Task("MNIST", mnist, mnist_by_hand, (1, 28, 28), "NLL", 6000, 128, num_epochs=20),
        Task(
            *("ResNet50, 64, a quarter of the width", resnet50(64, width=16), lambda: resnet50_by_hand(16)),
            *((3, 64, 64), "NLL", 64, 16),
        ),
        Task(
            "U-Net 3-D, 16, a quarter of the width",
            unet3d(16, width=8),
            lambda: UNet3D(8),
            (1,) + (16,) * 3,
            "MSE",
            16,
            4,
        ),
    ]


class Ours:
    """Epochs of rayrml's step."""

    def __init__(self, task: Task, device: torch.device, compiled: bool):
        torch.manual_seed(0)
        self.network = build_network(task.layers, task.shape).to(device)
        if compiled:
            self.network.compile()
        self.step = TrainingStep(
            self.network,
            LOSSES[task.loss](),
            OPTIMIZERS["Adam"](self.network.parameters(), learning_rate=1e-4),
            autocast=autocast_dtype(task.precision, device),
            graphs=not compiled,
        )
        self.shard = ResidentShard(*task.samples(device), np.arange(task.num_samples), seed=(0,))
        self.sizes = [len(x) for x in torch.empty(task.num_samples).split(task.batch_size)]

    def epoch(self, number: int) -> torch.Tensor:
        """Train, and give the mean loss."""
        batches = zip(self.sizes, self.shard.batches(self.sizes, number), strict=True)
        losses = [self.step(batch.input, batch.target, size).loss for size, batch in batches]
        return torch.stack(losses).mean()


class ByHand:
    """Epochs of a loop written for the task."""

    def __init__(self, task: Task, device: torch.device, compiled: bool):
        torch.manual_seed(0)
        layout = torch.channels_last if len(task.shape) == 3 else torch.channels_last_3d
        self.network = task.by_hand().to(device, memory_format=layout)
        if compiled:
            self.network.compile()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        self.inputs, self.targets = task.samples(device)
        self.loss, self.batch_size = FUNCTIONS[task.loss], task.batch_size
        self.dtype = autocast_dtype(task.precision, device)

    def epoch(self, number: int) -> torch.Tensor:
        """Train, and give the mean loss."""
        losses = []
        for chosen in torch.randperm(len(self.inputs)).to(self.inputs.device).split(self.batch_size):
            batch, target = self.inputs.index_select(0, chosen), self.targets.index_select(0, chosen)
            batch = batch if batch.is_floating_point() else batch / 255
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(batch.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
                output = self.network(batch)
            loss = self.loss(output.float(), target)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean()


def seconds(side: Ours | ByHand, number: int) -> tuple[float, float]:
    """Time of an epoch, and its loss; the device has nothing left to do at the end."""
    started = time.perf_counter()
    loss = side.epoch(number).item()
    return time.perf_counter() - started, loss


def compare(task: Task, device: torch.device, pairs: int, compiled: bool) -> dict:
    """Both sides in turn, `pairs` epochs each after one to warm up."""
    rayrml = Ours(task, device, compiled)
    sides = {"rayrml": rayrml, "by hand": ByHand(task, device, compiled)}
    counts = {sum(p.numel() for p in side.network.parameters()) for side in sides.values()}
    if len(counts) > 1:
        raise RuntimeError(f"the networks of {task.name} differ: {counts} parameters")
    times: dict[str, list[float]] = {name: [] for name in sides}
    losses = {}
    for number in range(pairs + 1):
        for name, side in sides.items():
            taken, losses[name] = seconds(side, number)
            times[name] += [taken] if number else []
    ours, theirs = (statistics.median(taken) for taken in times.values())
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    return {
        "network": task.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "precision": task.precision,
        "parameters": counts.pop(),
        "batch": task.batch_size,
        "samples/s": task.num_samples / ours,
        "by hand": task.num_samples / theirs,
        "ratio": statistics.median(ratios),
        "samples": task.num_samples,
        "epochs": task.num_epochs,
        "seconds of them": ours * task.num_epochs,
        "as a graph": rayrml.step.graphed is not None and rayrml.step.graphed.recorded,
        "loss": losses["rayrml"],
        "loss by hand": losses["by hand"],
    }


def main() -> None:
    """Measure all tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="epochs of each side")
    parser.add_argument("--compile", action="store_true", help="compile both sides' networks")
    parser.add_argument("--only", default="", help="beginning of a network's name")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = [task for task in tasks(device) if task.name.startswith(arguments.only)]
    rows = [compare(task, device, arguments.pairs, arguments.compile) for task in chosen]
    write("gpu_step", rows, "Samples a second of one device, against a loop by hand (medians of interleaved epochs)")


if __name__ == "__main__":
    main()
