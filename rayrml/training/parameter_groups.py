"""The parameters of an optimizer, in groups that differ in learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from rayrml.config.tables import Choice
from rayrml.networks.layers.layer import Layer, Weight
from rayrml.networks.network import Network
from rayrml.optimizers.rates import FACTOR

_UNDECAYED = frozenset({"bias", "beta", "gamma"})  # names in Keras: biases, and the weights of normalization


class _Kind(NamedTuple):
    """What the parameters of a group have in common: the factor of their learning rate, and whether they decay."""

    factor: float
    decays: bool


def build_optimizer(
    choice: Choice,
    network: Network,
    *,
    rates: Mapping[str, float],
    decay_all: bool,
    own: Callable[[nn.Parameter], nn.Parameter] = lambda parameter: parameter,
) -> torch.optim.Optimizer:
    """The optimizer of a network's trained parameters; one group of them unless they differ.

    Args:
        choice: row of the optimizers.
        network: on its device.
        rates: factors of the learning rate by the names of layers, 1 for all others.
        decay_all: whether `weight_decay` is also for biases and the weights of normalization layers.
        own: what the optimizer updates of a parameter.
    """
    groups: dict[_Kind, list[nn.Parameter]] = {}
    for name, layer in network.layers().items():
        for parameter, weight in _list_weights(layer):
            if parameter.requires_grad:
                decays = decay_all or weight is None or weight.name not in _UNDECAYED
                groups.setdefault(_Kind(rates.get(name, 1.0), decays), []).append(own(parameter))
    if groups.keys() <= {_Kind(1.0, True)}:
        return choice.build([parameter for group in groups.values() for parameter in group])
    rate = choice.settings["learning_rate"]
    return choice.build([_describe(kind, parameters, rate) for kind, parameters in groups.items()])


def _describe(kind: _Kind, parameters: list[nn.Parameter], rate: float) -> dict[str, Any]:
    own = {} if kind.decays else {"weight_decay": 0.0}
    return {"params": parameters, "lr": rate * kind.factor, FACTOR: kind.factor, **own}


def _list_weights(layer: Layer) -> Iterator[tuple[nn.Parameter, Weight | None]]:
    """The parameters of a layer, each with what Keras knows of it; in the order of the network's parameters."""
    for module in layer.modules():
        known = {weight.attribute: weight for weight in getattr(module, "weights", ())}
        for name, parameter in module.named_parameters(recurse=False):
            yield parameter, known.get(name)
