"""Running statistics that each worker has made of its own part of the batches."""

from __future__ import annotations

import torch

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
