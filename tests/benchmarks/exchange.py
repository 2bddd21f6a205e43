"""How the cost of exchanging gradients grows: measured on workers of this machine, and modelled for many GPUs.

Measured: bytes that workers add up, when in backward each bucket sets out, how long the exchange takes, how long
workers wait. Counted: arithmetic of a step. Published: speeds of links. Assumed: everything in `ASSUMED`.
"""

import argparse
import dataclasses
import functools
import math
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rayrml.losses import LOSSES
from rayrml.networks.network import Network, build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.gradients import Compression
from rayrml.training.sharding import Sharding
from rayrml.training.step import TrainingStep
from rayrml.workers import Pending, Workers
from tests.benchmarks.report import write
from tests.keras_networks import resnet50, unet3d
from tests.processes import on_workers

GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
GPUS_PER_MACHINE = 8
# Bytes a second in one direction. Source: NVIDIA's data sheet of the H200 (NVLink: 900 GB/s, both directions together).
NVLINK = 450e9
# Bytes a second in one direction that leave a machine of eight GPUs. Sources: NVIDIA's data sheet of the DGX H200
# (eight ConnectX-7 of 400 Gb/s), and 25GBASE-R Ethernet (IEEE 802.3by, one port).
NETWORKS = {"400 Gb/s InfiniBand a GPU": 8 * 50e9, "25 Gb/s Ethernet a machine": 3.125e9}
ASSUMED = {
    "arithmetic of a GPU, operations/s": 100e12,  # a tenth of the H200's bf16 peak, far more than a V100 gave
    "share of a link's speed that is used": 0.8,
    "seconds of a hop inside a machine": 2e-6,
    "seconds of a hop over InfiniBand": 5e-6,
    "seconds of a hop over Ethernet": 30e-6,
}
# As the makers of the predecessor published them.
PREDECESSOR = (("128 CPU processes", 128, 108), ("512 V100", 512, 290))


@dataclasses.dataclass(frozen=True)
class Model:
    """A network in full, and how a GPU is to train it; `size` is that of the sample by which it is measured here."""

    name: str
    layers: Any
    shape: tuple[int, ...]
    full_shape: tuple[int, ...]
    batch_per_gpu: int

    @property
    def loss(self) -> str:
        """Classes for images, numbers for volumes."""
        return "NLL" if len(self.shape) == 3 else "MSE"

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets."""
        if self.loss == "MSE":
            return torch.rand(count, *self.shape), torch.rand(count, *self.shape)
        return torch.rand(count, *self.shape), torch.randint(0, 1000, (count,))

    def step(self, workers: Workers, compression: Compression = "none") -> TrainingStep:
        """A step of the network by SGD."""
        torch.manual_seed(0)
        network = build_network(self.layers, self.shape)
        optimizer = OPTIMIZERS["SGD"](network.parameters(), learning_rate=1e-3, momentum=0.9)
        sharding = Sharding(network, workers, compression=compression)
        # Sums of statistics would be taken for those of gradients.
        how = {"workers": workers, "sharding": sharding, "global_batch_norm": False}
        return TrainingStep(network, LOSSES[self.loss](), optimizer, **how)


def models(size: int, volume: int) -> list[Model]:
    """ResNet50 and the 3-D U-Net, measured with images and volumes of these sizes."""
    return [
        Model("ResNet50, 224", resnet50(size), (3, size, size), (3, 224, 224), 128),
        Model("U-Net 3-D, 64", unet3d(volume), (1,) + (volume,) * 3, (1, 64, 64, 64), 8),
    ]


# What is measured on this machine


class Watched(Workers):
    """Workers of which it is written down when each sum begins, and of how many bytes."""

    def start_sum(self, tensor: torch.Tensor) -> Pending:
        """Begin to add up `tensor`, and take note of it."""
        SUMS.append((time.perf_counter(), tensor.nbytes))
        return super().start_sum(tensor)


SUMS: list[tuple[float, int]] = []


class Alone(Watched):
    """One worker that behaves as if there were a second one, whose share is nothing."""

    def start_sum(self, tensor: torch.Tensor) -> Pending:
        """Take note of the sum only."""
        SUMS.append((time.perf_counter(), tensor.nbytes))
        return Workers().start_sum(tensor)


def departures(model: Model) -> list[tuple[float, int]]:
    """For each bucket the share of a step's forward and backward after which it sets out, and its bytes."""
    step = model.step(Alone(0, 2))
    batch = model.batch(1)
    best: list[tuple[float, int]] = []
    shortest = math.inf
    for _ in range(3):
        SUMS.clear()
        started = time.perf_counter()
        step(*batch, 1)
        # The last bucket holds the first layer's gradient, which is backward's last.
        whole = SUMS[-1][0] - started
        if whole < shortest:
            shortest, best = whole, [((when - started) / whole, size) for when, size in SUMS]
    return best


def operations(model: Model) -> int:
    """Floating-point operations of forward and backward for one sample of full size."""
    network: Network = build_network(model.layers, model.shape).to("meta")
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, *model.shape, device="meta")).sum().backward()
    # Convolutions do the same at every pixel.
    return round(counter.get_total_flops() * math.prod(model.full_shape) / math.prod(model.shape))


def measured(chosen: list[Model], num_steps: int) -> list[dict]:
    """What a worker does in a step, each worker with one sample: weak scaling of all but the arithmetic."""
    work = functools.partial(_steps, chosen, num_steps)
    rows = []
    for size, results in on_workers(work, 1, 2, 4, timeout=900).items():
        for parts in zip(*results, strict=True):
            computes = torch.tensor([part["compute"] for part in parts])  # (worker, step)
            waits = torch.tensor([part["wait"] for part in parts])
            first = parts[0]
            rows.append(
                {
                    "network": first["network"],
                    "workers": size,
                    "gradients": first["gradients"],
                    "MB reduced": first["bytes"] / 1e6,
                    "buckets": first["buckets"],
                    "computing (s)": computes.mean().item(),
                    "waiting (s)": waits.mean().item(),
                    # Whoever is done first waits for the slowest, however fast the exchange is.
                    "of it idle (s)": (computes.amax(0) - computes).mean().item(),
                    "exchange alone (s)": first["alone"],
                }
            )
    return rows


def _steps(chosen: list[Model], num_steps: int, workers: Workers) -> list[dict]:
    """What this worker sees of all models, gradients in 32 and in 16 bits."""
    torch.set_num_threads(1)
    kinds: tuple[Compression, ...] = ("none", "bf16") if workers.size > 1 else ("none",)
    return [_stepped(model, kind, num_steps, workers) for model in chosen for kind in kinds]


def _stepped(model: Model, compression: Compression, num_steps: int, workers: Workers) -> dict:
    step = model.step(Watched(workers.rank, workers.size), compression)
    batch = model.batch(1)
    done = []
    for _ in range(num_steps + 1):
        SUMS.clear()
        done.append(step(*batch, workers.size))
    parts = [torch.zeros(nbytes, dtype=torch.uint8) for _, nbytes in SUMS]
    return {
        "network": model.name,
        "gradients": compression,
        "compute": [trained.compute_seconds for trained in done[1:]],
        "wait": [trained.reduce_seconds for trained in done[1:]],
        "bytes": sum(part.nbytes for part in parts),
        "buckets": len(parts),
        "alone": _exchange(workers, parts, compression),
    }


def _exchange(workers: Workers, parts: list[torch.Tensor], compression: str) -> float:
    """Seconds in which the same bytes are added up with nothing else to do."""
    dtype = torch.bfloat16 if compression == "bf16" else torch.float32
    values = [part[: part.numel() // 4 * 4].view(dtype) for part in parts]
    taken = []
    for _ in range(4):
        workers.gather(None)
        started = time.perf_counter()
        for pending in [Workers.start_sum(workers, value) for value in values]:
            pending.wait()
        taken.append(time.perf_counter() - started)
    return min(taken)


# What is modelled


def exchange_seconds(num_bytes: float, num_gpus: int, network: str) -> float:
    """A ring all-reduce: 2 (n - 1) / n of the bytes through the slowest link, and 2 (n - 1) hops.

    As many rings as a machine has ways out share the bytes, so what counts is a machine's speed as a whole.
    """
    machines = math.ceil(num_gpus / GPUS_PER_MACHINE)
    out = ASSUMED[f"seconds of a hop over {'InfiniBand' if 'InfiniBand' in network else 'Ethernet'}"]
    hops_out = 2 * machines if machines > 1 else 0
    latency = (2 * (num_gpus - 1) - hops_out) * ASSUMED["seconds of a hop inside a machine"] + hops_out * out
    speed = NVLINK if machines == 1 else min(NVLINK, NETWORKS[network])
    used = speed * ASSUMED["share of a link's speed that is used"]
    return 2 * (num_gpus - 1) / num_gpus * num_bytes / used + latency


def step_seconds(compute: float, buckets: list[tuple[float, int]], num_gpus: int, network: str) -> float:
    """A step whose buckets travel one after the other from the moment each is full; what is late is waited for."""
    arrived = 0.0
    for share, num_bytes in buckets:
        arrived = max(arrived, share * compute) + exchange_seconds(num_bytes, num_gpus, network)
    return max(compute, arrived)


def modelled(model: Model, buckets: list[tuple[float, int]], rate: float) -> list[dict]:
    """Rows of speed-ups over one GPU, each GPU with its own batch."""
    compute = model.batch_per_gpu * operations(model) / rate
    rows = []
    for network in NETWORKS:
        for gradients, factor in (("none", 1.0), ("bf16", 0.5)):
            sent = [(share, round(size * factor)) for share, size in buckets]
            speedups = {str(n): n * compute / step_seconds(compute, sent, n, network) for n in GPUS}
            row = {"network": model.name, "links": network, "gradients": gradients, "step (ms)": 1e3 * compute}
            rows.append(row | speedups)
    return rows


def main() -> None:
    """Measure, then model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3, help="steps of each measurement")
    parser.add_argument("--image", type=int, default=64, help="pixels of the images that are measured, each way")
    parser.add_argument("--volume", type=int, default=16, help="the same of volumes")
    parser.add_argument(
        "--operations",
        type=float,
        default=ASSUMED["arithmetic of a GPU, operations/s"],
        help="operations a second of a GPU, if measured",
    )
    arguments = parser.parse_args()
    chosen = models(arguments.image, arguments.volume)
    write(
        "exchange_measured",
        measured(chosen, arguments.steps),
        "Measured: a step of workers on this machine, which share its cores",
    )
    buckets = {model.name: departures(model) for model in chosen}
    leaving = [
        {"network": name, "bucket": number, "MB": size / 1e6, "sets out after": share}
        for name, found in buckets.items()
        for number, (share, size) in enumerate(found, 1)
    ]
    write("exchange_buckets", leaving, "Measured: buckets, and the share of forward and backward that is then over")
    inputs = [{"assumed": name, "value": value} for name, value in ASSUMED.items()]
    inputs[0]["value"] = arguments.operations
    inputs += [
        {"assumed": f"operations of a sample, {model.name} (counted)", "value": float(operations(model))}
        for model in chosen
    ]
    write("exchange_assumed", inputs, "Not measured")
    table = [row for model in chosen for row in modelled(model, buckets[model.name], arguments.operations)]
    for name, num_gpus, speedup in PREDECESSOR:
        blank = dict.fromkeys(map(str, GPUS), "")
        row = {"network": "the predecessor", "links": name, "gradients": "", "step (ms)": ""}
        table.append(row | blank | {str(num_gpus): speedup})
    header = "Modelled: speed-up over one GPU by number of GPUs, if data keeps up and all GPUs are equally fast"
    write("exchange", table, header)


if __name__ == "__main__":
    main()
