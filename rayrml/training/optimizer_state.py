"""The state of an optimizer from one run to the next: kept by parameter name, and used only where it still applies.

Settings are never taken from a checkpoint: what the configuration says is what a resumed run uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rayrml.config.tables import Choice
from rayrml.optimizers import needs_closure
from rayrml.saving.checkpoints import Checkpoint

_FRESH = "It starts without a state"


def list_trained(network: nn.Module) -> list[str]:
    """The names of the parameters that are trained, in the optimizer's order."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def restore_state(
    optimizer: torch.optim.Optimizer, choice: Choice, network: nn.Module, checkpoint: Checkpoint
) -> str | None:
    """Give an optimizer the state in a checkpoint, as far as it applies; return a sentence if not all of it does."""
    names = list_trained(network)
    difference = compare_state(choice, names, checkpoint)
    stored = _by_name(checkpoint, names)
    if stored is None or (difference is not None and difference.endswith(_FRESH)):
        return difference
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    own = optimizer.state_dict()
    own["state"] = {
        number: stored[name] for number, name in enumerate(names) if _fits(stored.get(name), shapes[name], optimizer)
    }
    optimizer.load_state_dict(own)
    return difference


def compare_state(choice: Choice, names: Sequence[str], checkpoint: Checkpoint) -> str | None:
    """A sentence if an optimizer of parameters with these `names` cannot use the whole state; None if it can."""
    if not checkpoint.optimizer.get("state"):
        return None
    if checkpoint.optimizer_type not in ("", choice.name):
        return f"The optimizer was {checkpoint.optimizer_type} and is now {choice.name}. {_FRESH}"
    stored = _by_name(checkpoint, names)
    if stored is None:
        return f"The optimizer's state is for other layers. {_FRESH}"
    lacking = sorted(_needed_keys(choice) - {str(key) for state in stored.values() for key in state})
    if lacking:
        return f"The optimizer's state lacks {', '.join(lacking)}, which {choice.name} needs. {_FRESH}"
    new = [name for name in names if name not in stored]
    if new and _takes_all_at_once(choice):
        return f"The trained layers have changed. {_FRESH}"
    if new:
        return f"Parameters without an optimizer state, because they were not trained before: {_shorten(new)}"
    return None


def _by_name(checkpoint: Checkpoint, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]] | None:
    """The state of each parameter; None if a file does not say whose states they are."""
    state: Mapping[Any, Any] = checkpoint.optimizer.get("state", {})
    before = checkpoint.parameters or _count_names(checkpoint, names)
    if before is None:
        return None
    numbered = {number: value for number, value in state.items() if isinstance(number, int) and number < len(before)}
    return {before[number]: value for number, value in numbered.items()}


def _count_names(checkpoint: Checkpoint, names: Sequence[str]) -> Sequence[str] | None:
    """The names for a file that holds none: those of today, if they are as many."""
    groups = checkpoint.optimizer.get("param_groups", [])
    return names if sum(len(group["params"]) for group in groups) == len(names) else None


def _needed_keys(choice: Choice) -> set[str]:
    """What an optimizer with these settings keeps for each parameter, as it shows with a small one."""
    weights = nn.Parameter(torch.ones(2, 2))
    built = choice.build([weights])
    if needs_closure(built):
        return set()
    weights.grad = torch.ones_like(weights)
    built.step()
    return {str(key) for key, value in built.state[weights].items() if value is not None}


def _takes_all_at_once(choice: Choice) -> bool:
    """Whether the optimizer keeps one state for all parameters together."""
    return needs_closure(choice.build([nn.Parameter(torch.ones(1))]))


def _fits(state: Mapping[str, Any] | None, shape: torch.Size, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a parameter of this shape can use a state."""
    if state is None:
        return False
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim > 0]
    return needs_closure(optimizer) or all(tensor.shape == shape for tensor in tensors)


def _shorten(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
