import pytest
import torch

from rayrml.config.tables import choose
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.parameter_groups import build_optimizer

LAYERS = [
    {"class_name": "Conv2D", "config": {"name": "conv", "filters": 3, "kernel_size": 3}},
    {"class_name": "LayerNormalization", "config": {"name": "norm", "axis": [1, 2, 3]}},
    {"class_name": "SeparableConv2D", "config": {"name": "separable", "filters": 2, "kernel_size": 3}},
    {"class_name": "PReLU", "config": {"name": "prelu"}},
]
STEPPING = [name for name in OPTIMIZERS if name != "Hessian"]


@pytest.fixture
def network():
    torch.manual_seed(0)
    built = build_network(LAYERS, (2, 9, 9))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.uniform_(0.5, 1.0)
    return built


def row(name, **arguments):
    return choose(OPTIMIZERS, {"type": name, **arguments}, "optimizer")


def changes(network, choice, **options):
    """How far a step moves each parameter whose gradient is 1."""
    optimizer = build_optimizer(choice, network, **({"rates": {}, "decay_all": True} | options))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in network.named_parameters()}


def test_parameters_that_do_not_differ_are_one_group_in_the_order_of_the_network(network):
    optimizer = build_optimizer(row("Adam"), network, rates={}, decay_all=True)
    (group,) = optimizer.param_groups
    assert all(mine is theirs for mine, theirs in zip(group["params"], network.parameters(), strict=True))


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_biases_and_weights_of_normalization_do_not_decay(network, name):
    decaying, plain = row(name, learning_rate=0.1, weight_decay=0.5), row(name, learning_rate=0.1)
    weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    found = changes(network, decaying, decay_all=False)
    network.load_state_dict(weights)
    without = changes(network, plain)
    same = [name for name in found if torch.allclose(found[name], without[name])]
    assert same == ["conv.bias", "norm.weight", "norm.bias", "separable.bias"]


@pytest.mark.parametrize("name", STEPPING)
def test_the_steps_of_named_layers_are_their_factor_times_as_long(network, name):
    weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    whole = changes(network, row(name))
    network.load_state_dict(weights)
    for parameter, change in changes(network, row(name), rates={"conv": 0.1, "prelu": 2.0}).items():
        factor = {"conv": 0.1, "prelu": 2.0}.get(parameter.split(".")[0], 1.0)
        torch.testing.assert_close(change, factor * whole[parameter], rtol=1e-3, atol=1e-6)
