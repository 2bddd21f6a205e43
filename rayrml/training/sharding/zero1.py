"""The optimizer's state divided among workers: each keeps that of its share of the parameters.

Source: arXiv 1910.02054, stage 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from rayrml.training.gradients import Compression
from rayrml.training.optimizer_state import list_in_order
from rayrml.training.sharding.sharding import Sharding
from rayrml.workers import Workers


class StateSharding(Sharding):
    """Which worker updates which parameter. The others get the result, so all have all weights at all times.

    Large parameters are given first, each to the worker that has least; that depends on the network alone, so a layer
    that is unfrozen later changes nothing for the others.

    Args:
        network: all of its parameters are divided, frozen ones too.
        workers: the workers that update them.
        compression: how workers compress the gradients that they exchange.
    """

    def __init__(self, network: nn.Module, workers: Workers, *, compression: Compression = "none"):
        super().__init__(network, workers, compression=compression)
        self._owners: dict[torch.Tensor, int] = {}
        loads = [0] * workers.size
        for parameter in sorted(network.parameters(), key=lambda p: -p.numel()):  # stable
            self._owners[parameter] = owner = loads.index(min(loads))
            loads[owner] += parameter.numel()

    @contextlib.contextmanager
    def updating(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """Within the block, only this worker's `parameters` have gradients; after it, all have been updated."""
        others = [(p, p.grad) for p in parameters if self._owners[p] != self._workers.rank]
        for parameter, _ in others:
            parameter.grad = None  # optimizers neither update nor keep anything for it
        yield
        for parameter, gradient in others:
            parameter.grad = gradient
        self._share(parameters)

    def adapt(self, optimizer: torch.optim.Optimizer) -> None:
        """Forget the state of parameters that other workers update; some optimizers begin with one for each."""
        for parameter in [p for p in optimizer.state if self._owners[p] != self._workers.rank]:
            del optimizer.state[parameter]

    def gather_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state as one worker would have it, in the first one; {} in others. All must call it."""
        names = self.names()
        own = {
            names[p]: _on_cpu(state) for p, state in optimizer.state.items() if self._owners[p] == self._workers.rank
        }
        gathered = self._workers.gather_in_first(own)
        if gathered is None:
            return {}
        states = {name: state for part in gathered for name, state in part.items()}
        order = list_in_order(optimizer, names)
        whole = optimizer.state_dict()
        whole["state"] = {number: states[name] for number, name in enumerate(order) if name in states}
        return whole

    @torch.no_grad()
    def _share(self, parameters: Sequence[nn.Parameter]) -> None:
        for owner in range(self._workers.size):
            some = [p for p in parameters if self._owners[p] == owner]
            if not some:
                continue
            values = torch.cat([p.flatten() for p in some])
            self._workers.broadcast(values, owner)
            if owner != self._workers.rank:
                for parameter, value in zip(some, values.split([p.numel() for p in some]), strict=True):
                    parameter.copy_(value.view(parameter.shape))


def _on_cpu(state: Any) -> dict[str, Any]:
    return {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in state.items()}
