"""The exponential moving average of a network's weights over its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from rayrml.training.sharding import Sharding
from rayrml.workers import Workers


class WeightAverage:
    """The moving average of all weights: after step t it is d * average + (1 - d) * weights, on their device.

    d is `decay`, but at most (1 + t) / (10 + t): the first steps, whose weights are far from the later ones, are
    forgotten soon. Running statistics are not averaged: those of the network belong to the average, too. Weights that
    are frozen are their own average.

    Source: the formula is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`.

    Args:
        network: the network in training; its parameters stay the same objects.
        decay: the share of the average that is kept in a step.
        sharding: what of each parameter this worker has; None for all of it.
    """

    def __init__(self, network: nn.Module, decay: float, sharding: Sharding | None = None):
        self._decay = decay
        self._steps = 0
        self._sharding = Sharding(network, Workers()) if sharding is None else sharding
        self._names = [name for name, _ in network.named_parameters()]
        self._parameters: list[torch.Tensor] = [self._sharding.own(parameter) for parameter in network.parameters()]
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the average."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the network computes with the average; both are kept, and no more than one copy is made."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def weights(self) -> dict[str, torch.Tensor]:
        """The average of each parameter, by name, as far as this worker has it."""
        return dict(zip(self._names, self._averages, strict=True))

    def state(self) -> dict[str, Any]:
        """What is needed to continue, besides the average: the steps so far, and this worker's weights in training."""
        raw = {name: parameter.detach() for name, parameter in zip(self._names, self._parameters, strict=True)}
        return {"steps": self._steps, "decay": self._decay, "raw": raw}

    @torch.no_grad()
    def restore(self, weights: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Continue with the average `weights`, whole ones, or with the network's own where there is no `state`."""
        self._steps = int(state.get("steps", 0))
        for name, average, parameter in zip(self._names, self._averages, self._parameters, strict=True):
            known = state and name in weights
            average.copy_(self._sharding.part(parameter, weights[name]) if known else parameter)

    @torch.no_grad()
    def _exchange(self) -> None:
        for number, parameter in enumerate(self._parameters):
            if self._sharding.in_place:
                held = parameter.clone()
                parameter.copy_(self._averages[number])
                self._averages[number].copy_(held)
            else:
                parameter.data, self._averages[number] = self._averages[number], parameter.data
