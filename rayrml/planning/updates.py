"""How weights are updated: the rows and keys of the section `optimizer`, and what is frozen at first, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rayrml.config.cluster import Ray
from rayrml.config.mistakes import Findings
from rayrml.config.optimization import OptimizerOptions, Unfreezing
from rayrml.config.sections import NeuralNetwork
from rayrml.config.tables import Choice, choose_with
from rayrml.errors import Problem
from rayrml.formatting import shorten
from rayrml.lr_schedulers import ScheduleChoice, choose_schedule
from rayrml.networks.freezing import unfreeze
from rayrml.networks.layer_patterns import find_layers
from rayrml.networks.network import Network
from rayrml.optimizers import OPTIMIZERS, layerwise, needs_closure

OPTIMIZER = "neural_network.optimizer"
UNFREEZE = "neural_network.unfreeze"


class Updates(NamedTuple):
    """What the section `optimizer` says.

    Attributes:
        optimizer: row of the optimizers, None without the section or if it has mistakes.
        options: the keys that all optimizers have.
        schedule: rows of the learning rate schedulers, None for a constant rate.
        rates: factors of the learning rate by the names of layers, without those of 1.
        unfreezing: the first epoch in which layers are trained that are frozen at first, by their names.
    """

    optimizer: Choice | None = None
    options: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleChoice | None = None
    rates: Mapping[str, float] = {}
    unfreezing: Mapping[str, int] = {}


def choose_updates(section: Mapping[str, Any] | None, ray: Ray, findings: Findings, where: str = OPTIMIZER) -> Updates:
    """What the section says; its mistakes, and what `ray` asks of the optimizer in vain, are added to the findings.

    `where` is the section's JSON path.
    """
    if section is None:
        return Updates()
    scheduler, schedule = section.get("lr_scheduler"), None
    with findings.gathering():
        if isinstance(scheduler, dict | list):
            schedule = choose_schedule(scheduler, f"{where}.lr_scheduler")
    with findings.gathering():
        optimizer, options = choose_with(OPTIMIZERS, section, where, options=OptimizerOptions)
        findings.mistakes.extend(_refuse_without_effect(optimizer, options, where))
        if ray.sharding != "none" and needs_closure(optimizer.builder):
            findings.add("ray.sharding", f"{optimizer.name} keeps one state for all weights together")
        return Updates(optimizer, options, schedule)
    return Updates(schedule=schedule)


def list_settings(
    row: Choice | None, options: OptimizerOptions, schedule: ScheduleChoice | None
) -> dict[str, Any] | None:
    """The section of an optimizer with all defaults, also those of its schedulers; None without one."""
    if row is None:
        return None
    section = {"type": row.name, **row.settings, **options.model_dump(mode="json")}
    return section if schedule is None else {**section, "lr_scheduler": schedule.settings}


def follow_network(
    updates: Updates, nn: NeuralNetwork, network: Network, findings: Findings, *, section: str = OPTIMIZER
) -> Updates:
    """The updates of this network, of which `unfreeze` frees the layers that the JSON freezes and `nn` names.

    `section` is the JSON path of what says how it is updated.
    """
    unfreezing = _find_unfreezing(nn, network, findings)
    unfreeze(network, unfreezing)
    rates: dict[str, float] = {}
    for pattern, factor in updates.options.learning_rates.items():
        where = f"{section}.learning_rates.{pattern}"
        names, mistake = find_layers(network, pattern)
        if mistake is not None:
            findings.add(where, mistake)
        elif all(name in rates for name in names):
            findings.add(where, "has no effect: names before it fit all of its layers")
        rates = dict.fromkeys(names, factor) | rates
    return updates._replace(rates=rates, unfreezing=unfreezing)


def _refuse_without_effect(optimizer: Choice, options: OptimizerOptions, section: str) -> Iterator[Problem]:
    """Common keys that this optimizer cannot honour."""
    given, name = options.model_fields_set, optimizer.name
    if options.learning_rates and needs_closure(optimizer.builder):
        message = f"{name} moves all weights along one direction, so they have one learning rate"
        yield Problem(f"{section}.learning_rates", message)
    if "decay_all" in given and "weight_decay" not in optimizer.settings:
        yield Problem(f"{section}.decay_all", f"{name} has no weight_decay")
    if "decay_all" in given and options.decay_all and name in layerwise.OPTIMIZERS:
        yield Problem(f"{section}.decay_all", f"{name} never decays biases and the weights of normalization")


def _find_unfreezing(nn: NeuralNetwork, network: Network, findings: Findings) -> dict[str, int]:
    """The first epoch of each layer that is frozen at first: of several the earliest."""
    listed = isinstance(nn.unfreeze, list)
    parts: list[Unfreezing] = nn.unfreeze if isinstance(nn.unfreeze, list) else [nn.unfreeze] if nn.unfreeze else []
    found: dict[str, int] = {}
    for number, part in enumerate(parts):
        where = f"{UNFREEZE}.{number}.layers" if listed else f"{UNFREEZE}.layers"
        for pattern in part.patterns:
            names, mistake = find_layers(network, pattern, frozen=True)
            if mistake is not None:
                findings.add(where, f"'{pattern}': {mistake}")
            found |= {name: min(part.epoch, found.get(name, part.epoch)) for name in names}
    trained = (name for name, layer in network.layers().items() if any(p.requires_grad for p in layer.parameters()))
    if found and all(name in found for name in trained):
        findings.add(UNFREEZE, "nothing to train in the first epoch: it freezes all layers that have weights")
    return found


def warn_of_decay(updates: Updates) -> Iterator[str]:
    """A sentence on a key for the decay of weights where no weight decays."""
    optimizer = updates.optimizer
    if optimizer is not None and not updates.options.decay_all and not optimizer.settings.get("weight_decay", 1):
        yield '"decay_all": false has no effect: "weight_decay" of the optimizer is 0'


def warn_of_unfreezing(network: Network, unfreezing: Mapping[str, int], num_epochs: int) -> Iterator[str]:
    """A sentence on layers that stay frozen because the run has too few epochs."""
    if late := [name for name, epoch in unfreezing.items() if epoch > num_epochs]:
        full = network.full_names()
        shown = shorten([f"'{full[name]}'" for name in late])
        there = "there is 1 epoch" if num_epochs == 1 else f"there are {num_epochs} epochs"
        yield f"unfreeze: {shown} would be trained from epoch {unfreezing[late[0]]}, but {there}"
