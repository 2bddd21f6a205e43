import copy

import pytest
import torch

from rayrml.networks.network import build_network
from rayrml.training.weight_average import WeightAverage

LAYERS = [
    {"class_name": "Conv2D", "config": {"name": "conv", "filters": 3, "kernel_size": 3}},
    {"class_name": "BatchNormalization", "config": {"name": "bn"}},
    {"class_name": "Dense", "config": {"name": "frozen", "units": 2, "trainable": False}},
]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(LAYERS, (2, 9, 9)).train()


def change(network, step):
    """Move what a step of training moves."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.sin(parameter * 7 + step))
    network(torch.rand(2, 2, 9, 9))


@pytest.mark.parametrize("decay", [0.5, 0.2, 0.999])
def test_the_average_is_that_of_the_formula(network, decay):
    average = WeightAverage(network, decay)
    expected = {name: p.detach().double() for name, p in network.named_parameters()}
    for step in range(1, 30):
        change(network, step)
        average.update()
        kept = min(decay, (1 + step) / (10 + step))
        for name, parameter in network.named_parameters():
            expected[name] = kept * expected[name] + (1 - kept) * parameter.detach().double()
    for name, tensor in average.weights().items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert torch.equal(average.weights()["frozen.weight"], network.layers()["frozen"].weight)


def test_the_network_computes_with_the_average_and_its_own_statistics_and_then_goes_on_as_before(network):
    average = WeightAverage(network, 0.9)
    for step in range(5):
        change(network, step)
        average.update()
    before, x = copy.deepcopy(network.state_dict()), torch.rand(2, 2, 9, 9)
    places = [parameter.data_ptr() for parameter in network.parameters()]
    other = build_network(LAYERS, (2, 9, 9)).eval()
    other.load_state_dict({**before, **average.weights()})
    with average.applied():
        assert torch.equal(network.eval()(x), other(x))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert [parameter.data_ptr() for parameter in network.parameters()] == places


def test_an_error_leaves_the_weights_in_training_in_their_place(network):
    average, before = WeightAverage(network, 0.9), copy.deepcopy(network.state_dict())
    change(network, 1)
    changed = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="wrong"), average.applied():
        assert torch.equal(network.layers()["conv"].weight, before["conv.weight"])
        raise ValueError("wrong")
    assert all(torch.equal(changed[name], tensor) for name, tensor in network.state_dict().items())


def test_a_restored_average_goes_on_and_one_without_a_state_begins_with_the_weights(network):
    average = WeightAverage(network, 0.9)
    for step in range(5):
        change(network, step)
        average.update()
    other = copy.deepcopy(network)
    restored, new = WeightAverage(other, 0.9), WeightAverage(other, 0.9)
    restored.restore({name: tensor.clone() for name, tensor in average.weights().items()}, average.state())
    new.restore(average.weights(), {})
    assert torch.equal(new.weights()["conv.weight"], other.layers()["conv"].weight)
    for one in (network, other):
        torch.manual_seed(1)
        change(one, 6)
    average.update()
    restored.update()
    assert all(torch.equal(tensor, restored.weights()[name]) for name, tensor in average.weights().items())
