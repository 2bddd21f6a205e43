"""Features: what enters the last layer with weights, whatever the layers around it are."""

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.features import Features
from rayrml.networks.network import build_network
from tests.keras_networks import Layers

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def sequential(*layers, shape=(8, 8, 2)):
    entries = [{"class_name": kind, "config": {"name": f"l{i}", **more}} for i, (kind, more) in enumerate(layers)]
    entries[0]["config"]["batch_input_shape"] = [None, *shape]
    return {"class_name": "Sequential", "config": {"layers": entries}}


CONV = ("Conv2D", {"filters": 4, "kernel_size": 3, "activation": "relu"})
DENSE = ("Dense", {"units": 5, "activation": "relu"})
SCORES = ("Dense", {"units": 3, "activation": "softmax"})


def samples(network, count=6):
    return torch.rand(count, *network.input_shapes[0], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layers", "name", "size"),
    [
        ([CONV, ("MaxPooling2D", {}), ("Flatten", {}), DENSE, SCORES], "l4", 5),
        ([CONV, ("Flatten", {}), DENSE, ("Dropout", {"rate": 0.5}), SCORES], "l4", 5),
        ([CONV, ("Flatten", {}), DENSE, ("Dense", {"units": 3}), ("Activation", {"activation": "softmax"})], "l3", 5),
        ([CONV, ("Flatten", {}), SCORES], "l2", 144),
    ],
)
def test_outputs_follow_from_the_features(layers, name, size):
    torch.manual_seed(0)
    network = build_network(sequential(*layers))
    found = Features(network.train())
    features, output = found(samples(network))
    assert found.layer == name and features.shape == (6, size)
    last = network.layers()[name]
    again = torch.softmax(features @ last.weight.T + last.bias, 1)
    torch.testing.assert_close(output, again)
    assert torch.equal(output, network.eval()(samples(network)))


def test_features_with_positions_are_means_over_them():
    network = build_network(
        sequential(CONV, ("Conv2D", {"filters": 3, "kernel_size": 1}), ("GlobalAveragePooling2D", {}))
    )
    features, output = Features(network)(samples(network))
    kernel = network.layers()["l1"]
    torch.testing.assert_close(output, features @ kernel.weight.flatten(1).T + kernel.bias)


def test_only_the_way_to_the_output_counts():
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 6])
    features = layers.add("Dense", x, units=5)
    scores = layers.add("Dense", features, units=3)
    layers.add("Dense", x, units=7)
    network = build_network(layers.model(scores))
    assert Features(network)(samples(network))[0].shape == (6, 5)


def test_a_layer_that_is_called_again_counts_at_its_last_call():
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 4])
    twice = layers.add("Dense", x, units=4)
    layers[-1]["inbound_nodes"].append([[twice, 0, 0, {}]])
    model = layers.model(twice)
    model["config"]["output_layers"] = [[twice, 1, 0]]
    network = build_network(model)
    dense = network.layers()[twice]
    features, output = Features(network)(samples(network))
    torch.testing.assert_close(features, samples(network) @ dense.weight.T + dense.bias)
    torch.testing.assert_close(output, features @ dense.weight.T + dense.bias)


def test_nothing_remains_on_the_network():
    network = build_network(sequential(CONV, ("Flatten", {}), SCORES))
    found = Features(network)
    found(samples(network))
    assert not network.layers()["l2"]._forward_pre_hooks
    with pytest.raises(ValueError):
        found(torch.rand(2, 1, 8, 8))
    assert not network.layers()["l2"]._forward_pre_hooks


def test_features_are_the_same_in_any_batch_to_rounding():
    network = build_network(sequential(CONV, ("Flatten", {}), DENSE, SCORES))
    found = Features(network)
    whole = found(samples(network))[0].numpy()
    parts = np.concatenate([found(part)[0].numpy() for part in samples(network).split(2)])
    assert parts == pytest.approx(whole, abs=1e-6)


def test_a_network_without_weights_has_no_features():
    network = build_network(sequential(("Flatten", {}), ("Activation", {"activation": "softmax"})))
    with pytest.raises(ConfigError, match=r"neural_network\.metric_network: no layer of this network has weights"):
        Features(network)
