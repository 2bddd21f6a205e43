import torch

from rayrml.networks.freezing import freeze, unfreeze
from rayrml.networks.network import build_network

LAYERS = [
    {"class_name": "Dense", "config": {"name": "dense", "units": 3, "batch_input_shape": [None, 3]}},
    {"class_name": "BatchNormalization", "config": {"name": "bn"}},
    {"class_name": "Dropout", "config": {"name": "dropout", "rate": 0.5}},
]


def test_a_frozen_layer_is_that_of_a_json_that_freezes_it():
    frozen = [{**layer, "config": layer["config"] | {"trainable": layer["config"]["name"] != "bn"}} for layer in LAYERS]
    torch.manual_seed(0)
    expected, network = build_network(frozen).train(), build_network(LAYERS).train()
    network.load_state_dict(expected.state_dict())
    freeze(network, ["bn"])
    network.train()
    x = torch.rand(8, 3)
    for one in (expected, network):
        torch.manual_seed(1)
        one(x).sum().backward()
        assert [name for name, p in one.named_parameters() if p.grad is not None] == ["dense.weight", "dense.bias"]
    assert torch.equal(network.layers()["bn"].running_mean, torch.zeros(3))


def test_an_unfrozen_layer_trains_its_weights_and_its_statistics():
    network = build_network(LAYERS).train()
    freeze(network, ["bn"])
    unfreeze(network, ["bn"])
    network(torch.rand(8, 3) + 1)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.layers()["bn"].running_mean.abs().sum() > 0
    assert not network.eval().layers()["bn"].training


def test_an_unfrozen_layer_has_the_mode_that_its_call_asks_for():
    given, call = {"name": "x", "batch_input_shape": [None, 3]}, ["x", 0, 0, {"training": False}]
    model = {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "layers": [
                {"class_name": "InputLayer", "name": "x", "config": given, "inbound_nodes": []},
                {"class_name": "BatchNormalization", "name": "bn", "config": {"name": "bn"}, "inbound_nodes": [[call]]},
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["bn", 0, 0]],
        },
    }
    network = build_network(model).train()
    freeze(network, ["bn"])
    unfreeze(network, ["bn"])
    assert network.train().layers()["bn"].training is False
    assert network.layers()["bn"].weight.requires_grad
