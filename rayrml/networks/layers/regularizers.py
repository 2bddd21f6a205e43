"""Keras's regularizers of weights and outputs: what they add to the loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from rayrml.config import names, tables
from rayrml.networks.layers.initializers import class_and_config


@dataclasses.dataclass(frozen=True, slots=True)
class Penalty:
    """l1 * sum(|w|) + l2 * sum(w^2), without the factor 1/2 of weight decay."""

    l1: float
    l2: float

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """The penalty of one weight or output, a scalar."""
        total = weight.new_zeros(())
        if self.l1:
            total = total + self.l1 * weight.abs().sum()
        return total + self.l2 * weight.square().sum() if self.l2 else total


def l1(*, l1: float = 0.01) -> Penalty:
    """l1 * sum(|w|)."""
    return Penalty(l1, 0.0)


def l2(*, l2: float = 0.01) -> Penalty:
    """l2 * sum(w^2)."""
    return Penalty(0.0, l2)


def l1_l2(*, l1: float = 0.0, l2: float = 0.0) -> Penalty:
    """l1 * sum(|w|) + l2 * sum(w^2)."""
    return Penalty(l1, l2)


def penalty(option: Any, path: str) -> Penalty | None:
    """The penalty that the JSON's `option` describes: None, a name, or a class and config; None if it is always 0.

    Raises:
        ConfigError: an unknown regularizer, or arguments that it does not accept.
    """
    if option is None:
        return None
    name, arguments = class_and_config(option)
    row = names.find(REGULARIZERS, str(name).replace("_", ""), path)
    builder = REGULARIZERS[row]
    built = builder(**tables.validate(tables.make_model(builder), arguments, path, f"{row} takes"))
    return built if built.l1 or built.l2 else None


REGULARIZERS = {"L1": l1, "L2": l2, "L1L2": l1_l2}
