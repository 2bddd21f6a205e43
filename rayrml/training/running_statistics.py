"""Running statistics that each worker has made of its own part of the batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from rayrml.networks.layers.shared_statistics import SharedStatistics
from rayrml.workers import Workers


def average_statistics(network: torch.nn.Module, workers: Workers) -> None:
    """Give all workers the mean of their running statistics; those of whole batches are the same already."""
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if workers.size == 1 or not buffers:
        return
    # In float64: the mean of equal numbers is then the same number, and constants stay as they are.
    values = torch.cat([buffer.flatten() for buffer in buffers]).double()
    means = workers.sum(values).div_(workers.size)
    for buffer, mean in zip(buffers, means.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


@contextlib.contextmanager
def unchanged_statistics(network: torch.nn.Module) -> Iterator[None]:
    """A block after which the running statistics are as before it, except those of whole batches."""
    kept = [
        (buffer, buffer.clone())
        for layer in network.modules()
        if not isinstance(getattr(layer, "shared", None), SharedStatistics)
        for buffer in layer.buffers(recurse=False)
    ]
    yield
    for buffer, before in kept:
        buffer.copy_(before)
