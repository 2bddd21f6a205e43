"""Running statistics that each worker has made of its own part of the batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from rayrml.networks.layers.shared_statistics import SharedStatistics
from rayrml.workers import Workers

Statistics = dict[str, torch.Tensor]  # by the names of buffers


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
    kept = [(buffer, buffer.clone()) for _, buffer in _own_buffers(network)]
    yield
    for buffer, before in kept:
        buffer.copy_(before)


def read_statistics(networks: Sequence[torch.nn.Module], workers: Workers) -> list[Statistics]:
    """Of each network, copies of the running statistics that this worker has not in common with the others.

    They differ in the middle of an epoch; see `average_statistics`.
    """
    if workers.size == 1:
        return []
    return [{name: buffer.cpu().clone() for name, buffer in _own_buffers(network)} for network in networks]


def restore_statistics(networks: Sequence[torch.nn.Module], read: Sequence[Sequence[Statistics]]) -> None:
    """Go on with what one worker has read, or with the mean of what several workers have read."""
    for network, of_workers in zip(networks, zip(*read, strict=True), strict=False):
        buffers = dict(network.named_buffers())
        for name in of_workers[0].keys() & buffers.keys():
            # In float64: the mean of equal numbers, as of counted batches, is then the same number.
            buffers[name].copy_(torch.stack([own[name] for own in of_workers]).double().mean(0))


def _own_buffers(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The buffers of a network that are not statistics of whole batches, with their names."""
    for prefix, layer in network.named_modules():
        if not isinstance(getattr(layer, "shared", None), SharedStatistics):
            yield from layer.named_buffers(prefix, recurse=False)
