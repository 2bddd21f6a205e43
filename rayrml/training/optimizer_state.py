"""The state of an optimizer from one run to the next: kept by parameter name, and used only where it still applies.

Settings are never taken from a checkpoint: what the configuration says is what a resumed run uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rayrml.config.tables import Choice
from rayrml.formatting import shorten
from rayrml.optimizers import needs_closure, try_step
from rayrml.saving.checkpoints import Checkpoint

_FRESH = "It starts without a state"
_MOST_NAMED = 4
Names = Mapping[torch.Tensor, str]
States = Mapping[str, Mapping[str, Any]]  # what an optimizer keeps, by the names of the parameters


def list_trained(network: nn.Module) -> list[str]:
    """The names of the parameters that are trained, in the optimizer's order."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def list_in_order(optimizer: torch.optim.Optimizer, names: Names) -> list[str]:
    """The names of an optimizer's parameters in its own order, in which its state numbers them."""
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def restore_state(
    optimizer: torch.optim.Optimizer,
    choice: Choice,
    network: nn.Module,
    checkpoint: Checkpoint,
    *,
    names: Names | None = None,
    part: Callable[[torch.Tensor, Any], Any] = lambda own, whole: whole,
) -> None:
    """Give an optimizer the state in a checkpoint, as far as it applies.

    Args:
        optimizer: updates the trained parameters of the network.
        choice: its row.
        network: the network.
        checkpoint: its state is that of whole parameters.
        names: of the parameters that the optimizer updates; None for the network's own.
        part: what belongs to one of these, given what belongs to the whole parameter.
    """
    names = {parameter: name for name, parameter in network.named_parameters()} if names is None else names
    states, _ = find_usable(choice, list_trained(network), checkpoint)
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    own = optimizer.state_dict()
    updated = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own["state"] = {
        number: {key: _laid_out(part(parameter, value), parameter) for key, value in states[name].items()}
        for number, (parameter, name) in enumerate(zip(updated, list_in_order(optimizer, names), strict=True))
        if name in states and (needs_closure(optimizer) or _fits(states[name], shapes[name]))
    }
    optimizer.load_state_dict(own)
    _separate_fresh(optimizer)


def carry_state(before: torch.optim.Optimizer, now: torch.optim.Optimizer) -> None:
    """Give an optimizer the state of one that updated some of its parameters, as a checkpoint between them would.

    One that keeps a single state for all parameters together starts without a state.
    """
    if not needs_closure(now):
        now.state.update({parameter: before.state[parameter] for parameter in before.state})
        _separate_fresh(now)


def _separate_fresh(optimizer: torch.optim.Optimizer) -> None:
    """Put parameters without a momentum into groups of their own, where others of their group have one.

    PyTorch's SGD gives a group's parameters their first momentum all at once.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in list(optimizer.param_groups):
        fresh = [p for p in group["params"] if optimizer.state.get(p, {}).get("momentum_buffer") is None]
        if group["momentum"] and 0 < len(fresh) < len(group["params"]):
            known = set(fresh)
            group["params"] = [p for p in group["params"] if p not in known]
            optimizer.add_param_group({**group, "params": fresh})


def find_usable(choice: Choice, names: Sequence[str], checkpoint: Checkpoint) -> tuple[States, str | None]:
    """The states in a checkpoint that an optimizer of parameters with these `names` can use.

    With them comes a sentence on what is lacking, None if nothing is.
    """
    if not checkpoint.optimizer.get("state"):
        return {}, None
    if checkpoint.optimizer_type not in ("", choice.name):
        return {}, f"The optimizer was {checkpoint.optimizer_type} and is now {choice.name}. {_FRESH}"
    states = _by_name(checkpoint, names)
    if states is None:
        return {}, f"The optimizer's state is for other layers. {_FRESH}"
    tried = try_step(choice.build)
    kept = {str(key) for state in states.values() for key in state}
    needed = {str(key) for state in tried.state.values() for key, value in state.items() if value is not None}
    if lacking := sorted(needed - kept):
        return {}, f"The optimizer's state lacks {', '.join(lacking)}, which {choice.name} needs. {_FRESH}"
    if needs_closure(tried):
        # It keeps one state for all parameters together, under the first of them.
        same = list(checkpoint.parameters or names) == list(names)
        return (states, None) if same else ({}, f"The trained layers have changed. {_FRESH}")
    if new := [name for name in names if name not in states]:
        shown = shorten(new, _MOST_NAMED)
        return states, f"Parameters without an optimizer state, because they were not trained before: {shown}"
    return states, None


def _by_name(checkpoint: Checkpoint, names: Sequence[str]) -> States | None:
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


def _laid_out(value: Any, parameter: torch.Tensor) -> Any:
    """A value in the memory order of its parameter: fused optimizers traverse both together and ignore the strides."""
    if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _fits(state: Mapping[str, Any], shape: torch.Size) -> bool:
    """Whether a parameter of this shape can use a state."""
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim > 0]
    return all(tensor.shape == shape for tensor in tensors)
