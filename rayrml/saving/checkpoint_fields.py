"""What the fields of a checkpoint file must be: a file may be damaged, or made by somebody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

_KINDS = {
    "epoch": int,
    "input_shape": tuple,
    "classes": tuple,
    "optimizer": Mapping,
    "optimizer_type": str,
    "parameters": list,
    "unfinished": Mapping,
    "history": list,
    "rows": list,
    "seconds": float,
    "run_id": str,
    "data": Mapping,
    "loss": Mapping,
    "targets": Mapping,
    "metric": str,
    "ema": Mapping,
    "loss_scaling": Mapping,
    "detection": Mapping,
    "category_ids": tuple,
    "critic": Mapping,
}


def find_wrong_fields(fields: Mapping[str, Any]) -> list[str]:
    """The names of the fields in a file that cannot be what a checkpoint has there."""
    wrong = [name for name, kinds in _KINDS.items() if name in fields and not isinstance(fields[name], kinds)]
    return wrong + [
        name for name, is_right in _STATES.items() if name not in wrong and fields.get(name) and not is_right(fields)
    ]


def _is_average(fields: Mapping[str, Any]) -> bool:
    """Whether `ema` has the steps of an average, and weights of the shapes that the network has."""
    raw, network = fields["ema"].get("raw"), fields["network"]
    if (
        not isinstance(fields["ema"].get("steps"), int)
        or not isinstance(raw, Mapping)
        or not isinstance(network, Mapping)
    ):
        return False
    shapes = {name: getattr(tensor, "shape", None) for name, tensor in network.items()}
    return all(isinstance(tensor, torch.Tensor) and tensor.shape == shapes.get(name) for name, tensor in raw.items())


def _is_scaling(fields: Mapping[str, Any]) -> bool:
    """Whether `loss_scaling` consists of scalars."""
    return all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in fields["loss_scaling"].values())


def _is_critic(fields: Mapping[str, Any]) -> bool:
    """Whether `critic` has everything that belongs to one."""
    critic = fields["critic"]
    kinds = {name: _KINDS[name] for name in ("optimizer", "optimizer_type", "parameters", "loss_scaling")}
    weights = critic.get("network")
    return (
        all(isinstance(critic.get(name), kind) for name, kind in {**kinds, "updates": int, "layers": object}.items())
        and isinstance(weights, Mapping)
        and all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    )


# What else holds for the values of fields that are not empty.
_STATES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "ema": _is_average,
    "loss_scaling": _is_scaling,
    "critic": _is_critic,
}
