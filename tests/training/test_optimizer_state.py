"""An optimizer's state from one run to the next."""

import copy

import pytest
import torch
from torch import nn

from rayrml.config.tables import choose
from rayrml.optimizers import OPTIMIZERS
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.optimizer_state import carry_state, find_usable, list_in_order, list_trained, restore_state


def network(**sizes):
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(size, size) for name, size in sizes.items()})


def row(name, **arguments):
    return choose(OPTIMIZERS, {"type": name, **arguments}, "optimizer")


def trained(net, choice, steps=3):
    """An optimizer after some steps, and the checkpoint of it."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = choice.build(parameters)
    for step in range(steps):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, 0.1 * (number + 1) + step)
        optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    kept = {"optimizer": state, "optimizer_type": choice.name, "parameters": list_trained(net)}
    return optimizer, Checkpoint(steps, {}, [], None, (), **kept)


def restored(net, choice, checkpoint):
    optimizer = choice.build([p for p in net.parameters() if p.requires_grad])
    restore_state(optimizer, choice, net, checkpoint)
    return optimizer, find_usable(choice, list_trained(net), checkpoint)[1]


STEPPING = [name for name in OPTIMIZERS if name != "Hessian"]


@pytest.mark.parametrize("name", STEPPING)
@pytest.mark.parametrize("named", [True, False])
def test_the_same_optimizer_goes_on_as_if_nothing_had_been(name, named):
    net, choice = network(a=2, b=3), row(name)
    optimizer, checkpoint = trained(net, choice)
    if not named:  # a file that does not say whose states they are
        checkpoint.optimizer_type, checkpoint.parameters = "", []
    other = copy.deepcopy(net)
    again, difference = restored(other, choice, checkpoint)
    assert difference is None
    for model, own in ((net, optimizer), (other, again)):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        own.step()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_settings_are_those_of_the_configuration():
    net = network(a=2)
    _, checkpoint = trained(net, row("Adam", learning_rate=0.1, weight_decay=0.5))
    optimizer, difference = restored(net, row("Adam", learning_rate=0.001), checkpoint)
    assert difference is None
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.001
    assert group["weight_decay"] == 0
    assert len(optimizer.state) == 2


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (row("SGD", momentum=0.9), row("Adam"), "The optimizer was SGD and is now Adam. It starts without a state"),
        (row("Adam"), row("SGD", momentum=0.9), "The optimizer was Adam and is now SGD"),
        (row("Adam"), row("AdamW"), "The optimizer was Adam and is now AdamW"),
        (row("Adam"), row("Adam", amsgrad=True), "state lacks max_exp_avg_sq, which Adam needs with these settings"),
    ],
)
def test_an_optimizer_that_cannot_use_the_state_starts_without_one(before, now, message):
    net = network(a=2)
    _, checkpoint = trained(net, before)
    optimizer, difference = restored(net, now, checkpoint)
    assert difference is not None
    assert message in difference or "It starts without a state" in difference
    assert not optimizer.state
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_states_follow_the_names_of_parameters_when_layers_are_frozen_or_freed():
    net, choice = network(a=2, b=3, c=2), row("Adam")
    net["b"].requires_grad_(False)
    _, checkpoint = trained(net, choice)
    net["a"].requires_grad_(False)
    net["b"].requires_grad_(True)
    optimizer, difference = restored(net, choice, checkpoint)
    assert difference is not None
    assert "were not trained before: b.weight, b.bias" in difference
    before = checkpoint.optimizer["state"]
    assert torch.equal(optimizer.state[net["c"].weight]["exp_avg"], before[2]["exp_avg"])
    assert net["b"].weight not in optimizer.state
    for parameter in (p for p in net.parameters() if p.requires_grad):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("arguments", [{}, {"momentum": 0.9, "dampening": 0.5}])
@pytest.mark.parametrize("name", STEPPING)
def test_a_state_is_carried_over_to_more_parameters_as_a_checkpoint_would(name, arguments):
    """Also by SGD, which gives all parameters of a group their first momentum at once."""
    choice = row(name, **arguments) if name in ("SGD", "LARS") else row(name)
    net = network(a=2, b=3, c=2)
    net["b"].requires_grad_(False)
    before, checkpoint = trained(net, choice)
    other = copy.deepcopy(net)
    for one in (net, other):
        one["b"].requires_grad_(True)
    carried = choice.build(list(net.parameters()))
    carry_state(before, carried)
    read, _ = restored(other, choice, checkpoint)
    for step in range(2):
        for model, optimizer in ((net, carried), (other, read)):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter) + step
            optimizer.step()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert sorted(list_in_order(carried, {parameter: name for name, parameter in net.named_parameters()})) == sorted(
        list_trained(net)
    )


def test_a_state_that_nobody_kept_is_not_missed():
    net = network(a=2)
    _, checkpoint = trained(net, row("SGD"))
    checkpoint.optimizer["state"] = {}
    assert find_usable(row("Adam"), list_trained(net), checkpoint) == ({}, None)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_of_all_parameters_together_is_used_only_for_the_same_ones(frozen):
    net, choice = network(a=2, b=3), row("Hessian")

    def closure():
        optimizer.zero_grad()
        loss = sum(parameter.square().sum() for parameter in net.parameters())
        loss.backward()
        return loss

    optimizer = choice.build(list(net.parameters()))
    optimizer.step(closure)
    kept = {"optimizer": optimizer.state_dict(), "optimizer_type": "Hessian", "parameters": list_trained(net)}
    net["b"].requires_grad_(not frozen)
    again, difference = restored(net, choice, Checkpoint(1, {}, [], None, (), **kept))
    assert bool(again.state) is not frozen
    assert difference == ("The trained layers have changed. It starts without a state" if frozen else None)
